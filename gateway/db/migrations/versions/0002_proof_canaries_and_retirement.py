"""Names that wait for their proof, canaries, moves, quarantine, retirement, and the gateways that are alive."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("names") as names:
        names.alter_column("version", existing_type=sa.Integer, nullable=True)
        names.add_column(sa.Column("wanted", sa.Integer))
        names.add_column(sa.Column("remark", sa.Text))
        names.add_column(sa.Column("shares", sa.JSON))
        names.add_column(sa.Column("base", sa.String(128)))
        names.add_column(sa.Column("kind", sa.String(16)))
        names.add_column(sa.Column("rank", sa.Integer))
        names.add_column(sa.Column("size_bytes", sa.Integer))
        names.add_column(sa.Column("created_at", sa.Float))
        names.add_column(sa.Column("generation", sa.Integer, nullable=False, server_default="0"))
        names.create_index("ix_names_generation", ["generation"])
    op.create_table(
        "moves",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(128), nullable=False, index=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("note", sa.Text),
    )
    op.create_table(
        "quarantine",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "retired",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("digest12", sa.String(12), primary_key=True),
        sa.Column("engine_name", sa.String(160), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "gateways",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("beat_at", sa.Float, nullable=False),
        sa.Column("done_with", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    for table in ("gateways", "retired", "quarantine", "moves"):
        op.drop_table(table)
    with op.batch_alter_table("names") as names:
        names.drop_index("ix_names_generation")
        for column in ("generation", "created_at", "size_bytes", "rank", "kind", "base", "shares", "remark", "wanted"):
            names.drop_column(column)
        names.alter_column("version", existing_type=sa.Integer, nullable=False)
