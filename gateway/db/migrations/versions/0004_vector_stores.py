"""Vector stores: sets of files with a searchable index, the files in them, and what the current index must not show."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vector_stores",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("labels", sa.JSON),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("last_active_at", sa.Float, nullable=False),
        sa.Column("expires_after_days", sa.Integer),
        sa.Column("is_expired", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer),
        sa.Column("built", sa.Integer, nullable=False),
        sa.Column("encoder", sa.String(128)),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.create_index("vector_stores_by_tenant", "vector_stores", ["tenant", "id"])
    op.create_index("vector_stores_by_name", "vector_stores", ["tenant", "name"])
    op.create_table(
        "vector_store_files",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("store_id", sa.String(64), sa.ForeignKey("vector_stores.id"), nullable=False),
        sa.Column("file_id", sa.String(64), nullable=False),
        sa.Column("batch_id", sa.String(64)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("filename", sa.String(256), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("max_tokens", sa.Integer, nullable=False),
        sa.Column("overlap_tokens", sa.Integer, nullable=False),
        sa.Column("attributes", sa.JSON),
        sa.Column("usage_bytes", sa.Integer, nullable=False),
        sa.Column("passages", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_vector_store_files_file_id", "vector_store_files", ["file_id"])
    op.create_index("ix_vector_store_files_expires_at", "vector_store_files", ["expires_at"])
    op.create_index("vector_store_files_once", "vector_store_files", ["store_id", "file_id"], unique=True)
    op.create_index("vector_store_files_in_order", "vector_store_files", ["store_id", "number"])
    counted = ["store_id", "status", "usage_bytes", "passages"]
    op.create_index("vector_store_files_counted", "vector_store_files", counted)
    op.create_index("vector_store_files_pending", "vector_store_files", ["status", "store_id"])
    op.create_index("vector_store_files_by_batch", "vector_store_files", ["batch_id", "status"])
    op.create_table(
        "vector_store_removals",
        sa.Column("store_id", sa.String(64), sa.ForeignKey("vector_stores.id"), primary_key=True),
        sa.Column("file_id", sa.String(64), primary_key=True),
    )
    op.create_table(
        "vector_store_batches",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("store_id", sa.String(64), sa.ForeignKey("vector_stores.id"), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("is_cancelled", sa.Integer, nullable=False),
    )
    op.create_index("ix_vector_store_batches_store_id", "vector_store_batches", ["store_id"])


def downgrade() -> None:
    for table in ("vector_store_batches", "vector_store_removals", "vector_store_files", "vector_stores"):
        op.drop_table(table)
