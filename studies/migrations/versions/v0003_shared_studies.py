"""Studies that several drivers share: who runs what, on which attempt and from which checkpoint; where the device-seconds went."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

INDEX = "ix_trials_study_id_choice_seed"


def upgrade() -> None:
    """Make two tables and four columns; `choice` is filled from the parameters of the trials that are there."""
    op.add_column("trials", sa.Column("choice", sa.Text(), nullable=True))
    op.add_column("trials", sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("trials", sa.Column("checkpoint", sa.Text(), nullable=True))
    op.add_column("trials", sa.Column("driver", sa.String(200), nullable=True))
    _fill_choices()
    # An index, not a constraint: for that SQLite would make the table anew, and dropping the old one takes its reports along.
    op.create_index(op.f(INDEX), "trials", ["study_id", "choice", "seed"], unique=True)
    op.create_table(
        "drivers",
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drivers")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_drivers_study_id_studies"), ondelete="CASCADE"),
    )
    op.create_table(
        "ledger",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("driver", sa.String(200), nullable=False),
        sa.Column("category", sa.String(200), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("study_id", "driver", "category", name=op.f("pk_ledger")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_ledger_study_id_studies"), ondelete="CASCADE"),
    )


def _fill_choices() -> None:
    """Every trial's parameters as JSON with sorted keys; of equal trials the oldest has the choice, the others have none and stay."""
    trials = sa.table(
        "trials", sa.column("id"), sa.column("study_id"), sa.column("seed"), sa.column("params", sa.JSON()), sa.column("choice")
    )
    connection = op.get_bind()
    known: set[tuple[int, str, int]] = set()
    choices = []
    query = sa.select(trials.c.id, trials.c.study_id, trials.c.params, trials.c.seed).order_by(trials.c.study_id, trials.c.id)
    for row_id, study_id, params, seed in connection.execute(query):
        choice = json.dumps(params, sort_keys=True)
        if (study_id, choice, seed) not in known:
            known.add((study_id, choice, seed))
            choices.append({"row_id": row_id, "text": choice})
    if choices:
        connection.execute(trials.update().where(trials.c.id == sa.bindparam("row_id")).values(choice=sa.bindparam("text")), choices)


def downgrade() -> None:
    """Drop them."""
    op.drop_table("ledger")
    op.drop_table("drivers")
    op.drop_index(op.f(INDEX), "trials")
    for column in ("driver", "checkpoint", "attempts", "choice"):
        op.drop_column("trials", column)
