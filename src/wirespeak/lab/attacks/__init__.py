"""The lab's hostile side: real tools where Debian has them, small own ones where it does not."""
