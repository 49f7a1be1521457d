"""What the database itself writes into each offer, whichever code path changes it.

`changed_seq` is the id of the writing transaction. Who remembers the oldest transaction that was still open
when it looked (`pg_snapshot_xmin`) and later reads what carries that id or a younger one misses nothing: neither
order of commits nor their length matters, and writers never wait for each other as they would for a counter.
A row that is gone would not be seen to go, so none may: what cannot be rented is not listed.
"""

from __future__ import annotations

from core.guards import lasting, not_lasting

STAMP_OFFERS = (
    lasting("nodes_offer")
    + """
    CREATE SEQUENCE nodes_offer_numbers;
    CREATE FUNCTION nodes_offer_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.changed_seq := pg_current_xact_id()::text::bigint;
        IF TG_OP = 'INSERT' THEN
            NEW.number := nextval('nodes_offer_numbers');
        ELSE
            NEW.number := OLD.number;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER nodes_offer_stamp BEFORE INSERT OR UPDATE ON nodes_offer
        FOR EACH ROW EXECUTE FUNCTION nodes_offer_stamp();
"""
)
UNSTAMP_OFFERS = (
    not_lasting("nodes_offer")
    + """
    DROP TRIGGER nodes_offer_stamp ON nodes_offer;
    DROP FUNCTION nodes_offer_stamp();
    DROP SEQUENCE nodes_offer_numbers;
"""
)
