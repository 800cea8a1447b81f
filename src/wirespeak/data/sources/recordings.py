"""Flow tables of our own: the columns of `schema.COLUMNS` and a `label`, as the lab's recordings give them."""

from __future__ import annotations

from wirespeak.data.dataset import Field, Kind, Role
from wirespeak.data.sources.source import Answer, Source
from wirespeak.schema import COLUMNS, LABELS, Column

_ROLES: dict[str, Role] = {
    "flow_id": "order", "first_seen": "time", "last_seen": "time", "src": "address", "dst": "address",
    "src_port": "port", "dst_port": "port", "src_mac": "mac", "dst_mac": "mac", "vlan": "id", "tunnel_id": "id", "community_id": "id", "history": "text",
    "fwd_ttl": "ttl", "bwd_ttl": "ttl", "fwd_window_bytes": "id", "bwd_window_bytes": "id",
}  # fmt: skip
_TEXT = ("src", "dst", "src_mac", "dst_mac", "community_id", "history")


def _field(column: Column) -> Field:
    said: dict[str, Role] = {"text": "text", "code": "id"}
    role: Role = "feature" if column.is_feature else said.get(column.kind) or _ROLES[column.name]
    is_text = column.kind == "text" or column.name in _TEXT
    kind: Kind = "category" if column.kind == "category" else "text" if is_text else "number"
    return Field(column.name, kind, role, column.unit, column.meaning)


SOURCE = Source(
    name="recording",
    title="Recorded flows",
    granularity="flow",
    row="one flow as `wirespeak flows` measures it, with its label",
    fields=(
        *(_field(column) for column in COLUMNS.values()),
        Field("label", "category", "label", "", "canonical label"),
        Field("recording", "category", "id", "", "recording the flow is from"),
    ),
    answers=(Answer("label", {label: label for label in LABELS}),),
    capture_files=True,
    group="recording",
    home="docs/lab.md",
    terms="your own",
    fetching="Record with `wirespeak lab record`, or label a flow table made by `wirespeak flows`.",
    flaws=(
        "A recording knows its own hosts and hours: hold out whole recordings (`--protocol recording`).",
        "Context columns describe earlier flows of the same capture; rows are not independent.",
    ),
)
