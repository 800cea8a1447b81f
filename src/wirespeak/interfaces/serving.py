"""The verb that serves a model over HTTP."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Annotated

from typer import Option

from wirespeak.errors import OptionError, missing_extra
from wirespeak.interfaces.options import Model
from wirespeak.interfaces.output import Outcome, Run
from wirespeak.interfaces.progress import Say, quiet

_LOOPBACK = ("127.", "::1", "localhost")
_STRAGGLERS_S = 1


def serve(
    *,
    openai: Annotated[bool, Option("--openai", help="Speak OpenAI's API.")] = False,
    model: Model = None,
    host: Annotated[
        str, Option("--host", metavar="HOST", help="Address to listen on; 0.0.0.0 lets the network in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, Option("--port", metavar="N", help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8080,
    progress: Say = quiet,
) -> Outcome:
    """Serve a language model over HTTP until Ctrl-C.

    With --openai, any client of OpenAI's API can ask the model, ours with --model http://HOST:PORT/v1 among them.
    WIRESPEAK_API_KEY, when set, is the key that every request must bring. Needs wirespeak[serve].
    """
    if not openai:
        raise OptionError("say what to serve: 'wirespeak serve --openai' speaks OpenAI's API.")
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as missing:
        raise missing_extra(missing.name or "fastapi", "serve") from missing
    from wirespeak.interfaces.openai_api import application
    from wirespeak.lm import load_model

    run = Run("serve", {"openai": openai, "model": model, "host": host, "port": port}, reproducible=False)
    key = os.environ.get("WIRESPEAK_API_KEY")
    if not key and not host.startswith(_LOOPBACK):
        run.warnings.append(
            f"anyone who reaches {host} could ask the model. Set WIRESPEAK_API_KEY to prevent it."
        )
    with _listen(host, port) as listener:
        progress("loading the model")
        app = application(load_model(model), key=key)
        where = f"[{host}]" if ":" in host else host
        progress(f"serving at http://{where}:{listener.getsockname()[1]}/v1 until Ctrl-C")
        config = uvicorn.Config(
            app, log_level="warning", lifespan="off", timeout_graceful_shutdown=_STRAGGLERS_S
        )
        with suppress(KeyboardInterrupt):  # the way to end it, not a failure
            uvicorn.Server(config).run(sockets=[listener])
    done = app.state.answered
    run.count(
        taken=sum(done.values()),
        given=done["answered"],
        set_aside={"refused": done["refused"]} if done["refused"] else {},
    )
    return run.done(None, f"{done['answered']:,} requests answered, {done['refused']:,} refused")


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OptionError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise OptionError(
            f"cannot listen on {host} port {port} ({error.strerror}). Choose another with --host and --port."
        ) from error
