-- What is one for the whole index, in one row that every transaction which changes
-- something for the caches of other processes updates. version is that of the last
-- row of the feed; rows up to pruned are gone. creations is how many transactions
-- have created metrics, metrics and deleted are how many there are, active and marked.
CREATE TABLE state (
    one       BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    version   BIGINT NOT NULL,
    pruned    BIGINT NOT NULL,
    creations BIGINT NOT NULL,
    metrics   BIGINT NOT NULL,
    deleted   BIGINT NOT NULL
);

INSERT INTO state (one, version, pruned, creations, metrics, deleted) SELECT 1, 0, 0, 0,
    (SELECT count(*) FROM metrics WHERE deleted_at IS NULL),
    (SELECT count(*) FROM metrics WHERE deleted_at IS NOT NULL);

-- What caches have to know, in the order of commits. kind is 1 for a metric that was
-- deleted, object being its id, 2 for a change of what is held in memory as a whole
-- (archive policies, rules). made_at is in nanoseconds since 1970.
CREATE TABLE feed (
    version BIGINT NOT NULL PRIMARY KEY,
    kind    BIGINT NOT NULL,
    object  {bytes},
    made_at BIGINT NOT NULL
);

CREATE INDEX feed_by_time ON feed (made_at);
