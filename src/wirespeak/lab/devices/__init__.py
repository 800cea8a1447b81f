"""The lab's ordinary life: one `Device` a host, behaviours by what they speak, profiles that combine them."""
