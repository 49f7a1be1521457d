"""The trigger by which every INSERT of transfers moves the live balances, whatever code path made it.

It also stands in for the foreign keys that transfers do not have: an account that is not there, and two
of different currencies, are refused. Most statements carry one row or many; one has a short way of its own.
Both lock in id order, so that two statements never wait for each other.
"""

from __future__ import annotations

APPLY = """
CREATE FUNCTION billing_transfer_apply() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    src bigint; dst bigint; moved bigint; many boolean; paid text; got text;
BEGIN
    SELECT t.src_id, t.dst_id, t.amount, EXISTS (SELECT 1 FROM new_rows OFFSET 1)
    INTO src, dst, moved, many FROM new_rows t LIMIT 1;
    IF many IS NULL THEN
        RETURN NULL;
    END IF;
    IF NOT many THEN
        IF src < dst THEN
            UPDATE billing_account SET balance = balance - moved
            WHERE id = src AND floor IS NOT NULL RETURNING currency INTO paid;
        END IF;
        UPDATE billing_account SET balance = balance + moved
        WHERE id = dst AND floor IS NOT NULL RETURNING currency INTO got;
        IF src > dst THEN
            UPDATE billing_account SET balance = balance - moved
            WHERE id = src AND floor IS NOT NULL RETURNING currency INTO paid;
        END IF;
        IF paid IS NULL THEN
            SELECT currency INTO paid FROM billing_account WHERE id = src;
        END IF;
        IF got IS NULL THEN
            SELECT currency INTO got FROM billing_account WHERE id = dst;
        END IF;
        IF paid = got THEN
            RETURN NULL;
        END IF;
    END IF;
    IF NOT many OR EXISTS (
        SELECT 1 FROM new_rows t
        LEFT JOIN billing_account s ON s.id = t.src_id
        LEFT JOIN billing_account d ON d.id = t.dst_id
        WHERE s.currency = d.currency IS NOT TRUE
    ) THEN
        RAISE EXCEPTION 'a transfer stays within one currency, between accounts that exist'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM 1 FROM billing_account
    WHERE floor IS NOT NULL
      AND id IN (SELECT src_id FROM new_rows UNION SELECT dst_id FROM new_rows)
    ORDER BY id FOR NO KEY UPDATE;
    UPDATE billing_account a SET balance = a.balance + d.delta
    FROM (
        SELECT account, SUM(amount) AS delta FROM (
            SELECT dst_id AS account, amount FROM new_rows
            UNION ALL SELECT src_id, -amount FROM new_rows
        ) legs GROUP BY account
    ) d
    WHERE a.id = d.account AND a.floor IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER billing_transfer_apply AFTER INSERT ON billing_transfer
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION billing_transfer_apply();
"""

UNAPPLY = """
DROP TRIGGER billing_transfer_apply ON billing_transfer;
DROP FUNCTION billing_transfer_apply();
"""

# Room in every page for the next version of a row: no index has to learn of it.
ROOM = """
ALTER TABLE billing_account SET (fillfactor = 70);
ALTER TABLE billing_meter SET (fillfactor = 70);
"""

NO_ROOM = """
ALTER TABLE billing_account RESET (fillfactor);
ALTER TABLE billing_meter RESET (fillfactor);
"""
