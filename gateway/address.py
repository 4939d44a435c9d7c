"""Where a gateway answers, for callers on its own machine. Knows only what the settings say."""

from __future__ import annotations

from gateway.settings import Settings


def address(setting: Settings) -> str:
    """As http://host:port."""
    host = "127.0.0.1" if setting.server_host in ("0.0.0.0", "::", "localhost") else setting.server_host  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{setting.server_port}"
