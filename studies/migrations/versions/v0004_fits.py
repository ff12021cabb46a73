"""Scaling laws that were fitted to studies."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make one table."""
    op.create_table(
        "fits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(200), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fits")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_fits_study_id_studies"), ondelete="CASCADE"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("fits")
