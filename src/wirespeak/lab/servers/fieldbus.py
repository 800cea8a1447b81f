"""CoAP (aiocoap) and Modbus/TCP (pymodbus) servers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from wirespeak.lab.devices.device import Device


async def serve_coap(d: Device) -> None:
    """Resources state, battery and time; time can be observed and changes every few seconds."""
    import aiocoap
    from aiocoap import resource

    class Value(resource.Resource):  # type: ignore[misc]
        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

        async def render_get(self, request: Any) -> Any:
            await asyncio.sleep(d.random.uniform(0, 0.05))
            return aiocoap.Message(payload=self.text.encode())

        async def render_put(self, request: Any) -> Any:
            return aiocoap.Message(code=aiocoap.CHANGED)

    class Clock(resource.ObservableResource):  # type: ignore[misc]
        async def render_get(self, request: Any) -> Any:
            return aiocoap.Message(payload=f"{time.time():.0f}".encode())

    clock = Clock()
    site = resource.Site()
    site.add_resource(["state"], Value("locked"))
    site.add_resource(["battery"], Value('{"volts":2.91}'))
    site.add_resource(["time"], clock)
    await aiocoap.Context.create_server_context(site, bind=("::", 5683), transports=["udp6"])
    period = d.random.uniform(3, 12)
    while True:
        await asyncio.sleep(period)
        clock.updated_state()


async def serve_modbus(d: Device) -> None:
    """A hundred registers and coils of each kind."""
    from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
    from pymodbus.server import StartAsyncTcpServer

    values = [d.random.randrange(65536) for _ in range(100)]
    registers = ModbusSequentialDataBlock(1, values)
    bits = ModbusSequentialDataBlock(1, [value % 2 for value in values])
    device = ModbusDeviceContext(di=bits, co=bits, hr=registers, ir=registers)
    await StartAsyncTcpServer(ModbusServerContext(devices=device, single=True), address=("0.0.0.0", 502))
