"""Seeds of 32 bits, for which PostgreSQL's INTEGER has no room."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Widen the column; SQLite's integers have 64 bits, and it would make the table anew."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("trials", "seed", type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=False)


def downgrade() -> None:
    """Narrow it again; fails where a seed has more than 31 bits."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("trials", "seed", type_=sa.Integer(), existing_type=sa.BigInteger(), existing_nullable=False)
