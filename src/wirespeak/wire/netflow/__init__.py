"""Export packets of routers and probes: NetFlow v5, NetFlow v9 and IPFIX, to and from tables of records."""
