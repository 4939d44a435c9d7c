"""Jobs that can be paused, that belong to somebody, that remember the request they were made from, and for which engines
leave the accelerator."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("pause_requested", sa.Integer, nullable=False, server_default="0"))
        jobs.add_column(sa.Column("tenant", sa.String(64), nullable=False, server_default="default"))
        jobs.add_column(sa.Column("labels", sa.JSON))
        jobs.add_column(sa.Column("asked", sa.JSON))
        jobs.add_column(sa.Column("asked_digest", sa.String(64)))
        jobs.add_column(sa.Column("wants_accelerator", sa.Integer, nullable=False, server_default="0"))
        jobs.create_index("ix_jobs_asked_digest", ["asked_digest"])
    with op.batch_alter_table("gateways") as gateways:
        gateways.add_column(sa.Column("aside_for", sa.String(64)))


def downgrade() -> None:
    with op.batch_alter_table("gateways") as gateways:
        gateways.drop_column("aside_for")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_index("ix_jobs_asked_digest")
        for column in ("wants_accelerator", "asked_digest", "asked", "labels", "tenant", "pause_requested"):
            jobs.drop_column(column)
