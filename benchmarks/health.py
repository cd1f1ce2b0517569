"""A round of 200 health checks: how long it takes beyond the slowest, and its memory.

`python -m benchmarks.health [--json]`: one process serves 200 endpoints, of which the slowest takes
3 s, and a fresh one asks all of them as the loop of `fedvitals health watch` does.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time

from benchmarks.setting import peak_mb
from tasks.core.health import Health
from tasks.core.services import Environment, Service
from tasks.runs.health.round import take_samples

ENDPOINTS = 200
SLOWEST_SECONDS = 3.0
BODY = json.dumps({"status": "ok", "padding": "x" * 20_000})
MOST_SECONDS_MORE, MOST_MB = 5.0, 100.0


def main() -> None:
    """Measure one round in a fresh process and print it; exit code 1 beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ask", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return
    figures = ask(options.ask) if options.ask else measure()
    print(json.dumps(figures) if options.json or options.ask else _table(figures))
    is_good = figures["seconds_more"] <= MOST_SECONDS_MORE and figures["mb_more"] <= MOST_MB
    sys.exit(not is_good or figures["healthy"] != ENDPOINTS)


def measure() -> dict[str, float]:
    """Return the figures of a round that a fresh process asked for."""
    command = [sys.executable, "-m", "benchmarks.health"]
    with subprocess.Popen([*command, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            asked = subprocess.run(
                [*command, "--ask", url], capture_output=True, text=True, check=False
            )
        finally:
            server.terminate()
    figures: dict[str, float] = json.loads(asked.stdout)
    return figures


def ask(url: str) -> dict[str, float]:
    """Ask every endpoint once; return seconds beyond the slowest, and memory above the imports."""
    named = {f"/{number}": {"body": [{"path": "$.status"}]} for number in range(ENDPOINTS)}
    health = Health.model_validate({"endpoints": named, "training": None})
    api = Environment(name="bench", services={"api": Service(url=url, origin="bench")})
    # what the first request imports
    one = health.model_copy(update={"endpoints": dict([*health.endpoints.items()][1:2])})
    take_samples(one, [api])
    before, began = peak_mb(), time.perf_counter()
    samples = take_samples(health, [api])
    took = time.perf_counter() - began
    return {
        "endpoints": ENDPOINTS,
        "healthy": sum(each.status == "healthy" for each in samples),
        "seconds": took,
        "seconds_more": took - SLOWEST_SECONDS,
        "mb_more": peak_mb() - before,
    }


async def serve() -> None:
    """Answer every path after a time of its own: 0 s to 1 s, and the first after the longest."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=ENDPOINTS)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    async with server:
        await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    number = int(head.split()[1].removeprefix("/"))
    await asyncio.sleep(number / ENDPOINTS if number else SLOWEST_SECONDS)
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n\r\n{BODY}"
    writer.write(answer.encode())
    await writer.drain()
    writer.close()


def _table(figures: dict[str, float]) -> str:
    return "\n".join(f"{name:<14} {value:10.2f}" for name, value in figures.items())


if __name__ == "__main__":
    main()
