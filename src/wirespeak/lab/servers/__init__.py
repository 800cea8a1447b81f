"""What the lab's hosts answer with: real daemons (Mosquitto, dnsmasq), real libraries (aiocoap, pymodbus), small own ones."""
