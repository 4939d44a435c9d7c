"""Checks of what is served: the port or the gateway behind it, and what memory is planned for. Starts no engine."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from adapters.errors import WillNotFit
from gateway.address import address
from gateway.cli.checks.contract import Finding
from gateway.cli.checks.house import names
from gateway.db.standing import standing
from gateway.engines.capacity import plan_base
from gateway.settings import Settings


def gateway(settings: Settings) -> Iterator[Finding]:
    url = address(settings)
    if not _is_listening(settings):
        yield Finding("ok", f"{url}: nothing listens there, so `graft serve` can")
        return
    status, ready = _get(f"{url}/health/ready", settings)
    if "engines" not in ready:
        yield Finding("fail", f"{url} is used by something that is no gateway", "end it, or set server.port")
        return
    waits = "" if status == 200 else "`graft doctor` again in a minute; the logs are in storage.home"
    yield Finding("ok" if status == 200 else "warn", f"{url}: a gateway, {ready['status']}", waits)
    status, engines = _get(f"{url}/v1/graft/engines", settings)
    if status != 200:
        yield Finding("warn", f"{url} does not show its engines (status {status})", "set server.api_key to the gateway's")
    for described in engines.get("bases", {}).values():
        yield from map(_replica, described["replicas"])


def _replica(seen: dict[str, Any]) -> Finding:
    running, waiting = (sum(seen[queue].values()) for queue in ("in_flight", "waiting"))
    says = f"{seen['name']}: {seen['state']}, {len(seen['adapters'])} adapters, {running} answers under way, {waiting} waiting"
    if seen["state"] == "ready":
        return Finding("ok", says)
    return Finding("warn", f"{says}; {seen['last_failure'] or 'no failure so far'}", f"see logs/engine-{seen['name']}.log")


def capacity(settings: Settings) -> Iterator[Finding]:
    known = names(settings)
    for base in settings.bases:
        try:
            plan = plan_base(settings, base, standing(known, base.name) if known else [])
        except WillNotFit as error:
            yield Finding("fail", f"{base.name}: {error.message}")
            continue
        yield Finding("ok", f"{base.name}: {plan.sentences[0]}")
        for sentence in plan.sentences[1:]:
            says, _, do = sentence.partition("; ")
            yield Finding("warn", f"{base.name}: {says}", do)


def _is_listening(settings: Settings) -> bool:
    host = address(settings).removeprefix("http://").rpartition(":")[0].strip("[]")
    try:
        with socket.create_connection((host, settings.server_port), timeout=2):
            return True
    except OSError:
        return False


def _get(url: str, settings: Settings) -> tuple[int, dict[str, Any]]:
    """(status, body); an empty body where it is no JSON object, status 0 where nobody answers in time."""
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {settings.server_api_key or 'local'}"})  # noqa: S310 - http by `address`
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            status, raw = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, raw = error.code, error.read()
    except (OSError, ValueError):
        return 0, {}
    try:
        body = json.loads(raw)
    except ValueError:
        return status, {}
    return status, body if isinstance(body, dict) else {}
