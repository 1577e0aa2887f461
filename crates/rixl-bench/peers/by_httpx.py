"""The calls by hand on Python's httpx, for scale: WORK WARM_UP CALLS AT_ONCE, as the other peers."""

import asyncio
import os
import sys
import time
from pathlib import Path

import httpx

URL, TOKEN, ORGANIZATION_ID, KEY_ID, API_KEY = (
    os.environ[f"PEER_{name}"] for name in ("URL", "TOKEN", "ORGANIZATION_ID", "KEY_ID", "API_KEY")
)
KEYS = f"/organizations/{ORGANIZATION_ID}/api-keys/v1"
BEARER = {"authorization": f"Bearer {TOKEN}"}


async def rotate(client):
    answer = await client.post(f"{KEYS}/{KEY_ID}/rotate", headers=BEARER)
    return len(answer.raise_for_status().json()["api_key"]["secret"]) >= 16


async def exchange(client):
    answer = await client.post("/platform/auth/v1/token", json={"api_key": API_KEY})
    return len(answer.raise_for_status().json()["access_token"]) >= 16


async def list_keys(client):
    count = 0
    while True:
        query = {"pagination.limit": 100, "pagination.offset": count}
        page = (await client.get(KEYS, params=query, headers=BEARER)).raise_for_status().json()
        count += sum(1 for key in page["api_keys"] if key["id"])
        if not page["api_keys"] or int(page["total"]) == count:
            return count


async def call(client, work):
    if work.startswith("list-"):
        return await list_keys(client) == int(work.removeprefix("list-"))
    return await {"rotate": rotate, "exchange": exchange}[work](client)


async def worker(client, work, calls):
    for _ in range(calls):
        if not await call(client, work):
            raise SystemExit(f"{work} did not give what it should")


async def main(work, warm_up, calls, at_once):
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(base_url=URL, limits=limits, timeout=60) as client:
        await asyncio.gather(*(worker(client, work, warm_up // at_once) for _ in range(at_once)))
        started, used = time.perf_counter_ns(), time.thread_time_ns()
        await asyncio.gather(*(worker(client, work, calls // at_once) for _ in range(at_once)))
        took, used = time.perf_counter_ns() - started, time.thread_time_ns() - used
    status = Path("/proc/self/status").read_text()
    print(took, used, status.split("VmHWM:")[1].split()[0])


asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
