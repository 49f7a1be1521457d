"""The trigger by which every INSERT of transfers moves the live balances, whatever code path made it."""

from __future__ import annotations

APPLY = """
CREATE FUNCTION billing_transfer_apply() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM new_rows t
        JOIN billing_account s ON s.id = t.src_id
        JOIN billing_account d ON d.id = t.dst_id
        WHERE s.currency <> d.currency
    ) THEN
        RAISE EXCEPTION 'a transfer stays within one currency'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- Lock in id order, so that two statements never wait for each other.
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
