"""Secrets that a test plants, and a search for them in everything that was said and kept."""

import base64
import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from sqlalchemy import create_engine, inspect, text


@dataclass
class Search:
    """Looks for planted secrets, each in every form in which it may be written down."""

    secrets: Mapping[str, str]
    """Secret by the name of where it was planted; at least ten characters, so that none is found by chance."""
    users: Iterable[str] = ()
    """Names that stand before a secret in HTTP's basic authentication."""
    leaks: list[str] = field(default_factory=list)
    """Whose secret was found, and where."""
    num_bytes: int = 0
    """How much was searched."""
    places: list[str] = field(default_factory=list)
    """What was searched."""

    def text(self, place: str, said: str | bytes) -> None:
        """Search what was said."""
        content = said.encode(errors="replace") if isinstance(said, str) else said
        self.num_bytes += len(content)
        self.places.append(place)
        for name, forms in self._forms().items():
            if any(form in content for form in forms):
                self.leaks.append(f"{name} in {place}")

    def document(self, place: str, said: Any) -> None:
        """Search plain data."""
        self.text(place, json.dumps(said, default=str, ensure_ascii=False))

    def folder(self, folder: Path, *, but: Iterable[Path] = ()) -> None:
        """Search the names and the bytes of all files of a folder; SQLite files also value by value."""
        spared = set(but)
        for path in sorted(folder.rglob("*")):
            if path in spared or not path.is_file() or path.is_symlink():
                continue
            self.text(str(path), str(path).encode() + b"\n" + path.read_bytes())
            if path.suffix == ".db":
                self.text(f"rows of {path}", _sqlite_rows(path))

    def database(self, url: str) -> None:
        """Search every row of every table of a PostgreSQL schema."""
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with closing(engine.raw_connection()), engine.connect() as connection:
            for table in inspect(connection).get_table_names():
                rows = connection.execute(text(f'select * from "{table}"')).all()  # noqa: S608 (our own tables)
                self.text(f"table {table}", repr(rows))
        engine.dispose()

    def command_lines(self, processes: Iterable[psutil.Process]) -> None:
        """Search what `ps` shows of some processes to every user of the machine."""
        for process in processes:
            try:
                self.text(f"command line of process {process.pid}", "\0".join(process.cmdline()))
            except psutil.Error:
                continue

    def _forms(self) -> dict[str, set[bytes]]:
        found: dict[str, set[bytes]] = {}
        for name, secret in self.secrets.items():
            assert len(secret) >= 10, name
            forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
            forms |= {base64.b64encode(f"{user}:{secret}".encode()).decode() for user in self.users}
            forms.add(base64.b64encode(secret.encode()).decode().rstrip("="))
            found[name] = {form.encode() for form in forms}
        return found


def _sqlite_rows(path: Path) -> str:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        tables = [
            name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
        ]
        rows = {name: connection.execute(f'select * from "{name}"').fetchall() for name in tables}  # noqa: S608
    return repr(rows)
