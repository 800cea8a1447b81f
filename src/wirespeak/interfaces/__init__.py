"""Where Wirespeak meets people and programs. No logic here: the verbs join the parts."""
