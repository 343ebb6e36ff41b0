-- What was acknowledged and could not be applied. accepted_at and rejected_at are
-- nanoseconds since 1970, null where they can't be told. measures are the time (ns)
-- and the value (IEEE 754) of each, 8 bytes little-endian each; raw is the record's
-- bytes where they can't be read. bytes is what the letter is counted for.
CREATE TABLE dead_letters (
    id             {text}  NOT NULL PRIMARY KEY,
    sack           BIGINT  NOT NULL,
    log_offset     BIGINT  NOT NULL,
    accepted_at    BIGINT,
    rejected_at    BIGINT,
    project        {text}  NOT NULL,
    metric         {bytes},
    archive_policy {text}  NOT NULL,
    reason         {text}  NOT NULL,
    measures       {bytes},
    raw            {bytes},
    bytes          BIGINT  NOT NULL
);

ALTER TABLE state ADD COLUMN letters BIGINT NOT NULL DEFAULT 0;
ALTER TABLE state ADD COLUMN letter_bytes BIGINT NOT NULL DEFAULT 0;
