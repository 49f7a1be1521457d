"""SQL that migrations use to make tables append-only in the database itself."""

from __future__ import annotations


def append_only(table: str) -> str:
    """Return SQL after which UPDATE, DELETE and TRUNCATE of `table` raise, whoever tries."""
    return f"""
        CREATE OR REPLACE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '{table} is append-only: % refused', TG_OP
                USING ERRCODE = 'integrity_constraint_violation';
        END $$;
        CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only();
    """


def not_append_only(table: str) -> str:
    """Return SQL that takes `append_only` back."""
    return f"""
        DROP TRIGGER {table}_append_only ON {table};
        DROP FUNCTION {table}_is_append_only();
    """


def lasting(table: str) -> str:
    """Return SQL after which DELETE and TRUNCATE of `table` raise: its rows change, and never go."""
    return f"""
        CREATE OR REPLACE FUNCTION {table}_lasts() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'rows of {table} last: % refused', TG_OP
                USING ERRCODE = 'integrity_constraint_violation';
        END $$;
        CREATE TRIGGER {table}_lasts BEFORE DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION {table}_lasts();
    """


def not_lasting(table: str) -> str:
    """Return SQL that takes `lasting` back."""
    return f"""
        DROP TRIGGER {table}_lasts ON {table};
        DROP FUNCTION {table}_lasts();
    """
