"""Files of trials, and what is measured of candidates before training."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make two tables and a column; a default fills it in the trials that are there."""
    op.add_column("trials", sa.Column("premeasured", sa.JSON(), server_default=sa.text("'{}'"), nullable=False))
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(200), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_artifacts_trial_id_trials"), ondelete="CASCADE"),
        sa.UniqueConstraint("trial_id", "kind", name=op.f("uq_artifacts_trial_id_kind")),
    )
    op.create_table(
        "measurements",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("metric", sa.String(200), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("study_id", "choice", "metric", name=op.f("pk_measurements")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_measurements_study_id_studies"), ondelete="CASCADE"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("measurements")
    op.drop_table("artifacts")
    op.drop_column("trials", "premeasured")
