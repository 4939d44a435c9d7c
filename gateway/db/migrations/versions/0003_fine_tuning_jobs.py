"""Jobs that can be paused, that belong to somebody, and that remember the request they were made from."""

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
        jobs.add_column(sa.Column("device", sa.String(16)))
        jobs.create_index("ix_jobs_asked_digest", ["asked_digest"])


def downgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_index("ix_jobs_asked_digest")
        for column in ("device", "asked_digest", "asked", "labels", "tenant", "pause_requested"):
            jobs.drop_column(column)
