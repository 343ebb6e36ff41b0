-- Archive policies. definition is a JSON list of {granularity, points, timespan},
-- durations in nanoseconds, what is kept for ever left out; methods is a JSON list
-- of names.
CREATE TABLE archive_policies (
    name        {text} NOT NULL PRIMARY KEY,
    back_window BIGINT NOT NULL,
    definition  TEXT   NOT NULL,
    methods     TEXT   NOT NULL
);

CREATE TABLE archive_policy_rules (
    name           {text} NOT NULL PRIMARY KEY,
    metric_pattern {text} NOT NULL,
    archive_policy {text} NOT NULL REFERENCES archive_policies (name)
);

CREATE INDEX archive_policy_rules_by_policy ON archive_policy_rules (archive_policy);

-- Metrics. id and resource are UUIDs of 16 bytes. The labels are for back-ends that
-- tell them to others, and as they were when the metric was created: label_name is
-- null where it is the name. deleted_at, in nanoseconds since 1970, marks a metric that is
-- gone from every view but not yet forgotten by the log and the store; told_at says
-- that the log has heard of it, in the record told_offset of told_sack: from then
-- on it has no archive policy.
CREATE TABLE metrics (
    id             {bytes} NOT NULL PRIMARY KEY,
    name           {text},
    unit           {text},
    creator        {text}  NOT NULL,
    archive_policy {text}  REFERENCES archive_policies (name),
    resource       {bytes},
    label_name     {text},
    label_resource {text},
    label_type     {text},
    deleted_at     BIGINT,
    told_at        BIGINT,
    told_sack      BIGINT,
    told_offset    BIGINT
);

-- One metric of a name in a resource.
CREATE UNIQUE INDEX metrics_by_resource ON metrics (resource, name)
    WHERE resource IS NOT NULL AND deleted_at IS NULL;

CREATE INDEX metrics_untold ON metrics (deleted_at) WHERE deleted_at IS NOT NULL AND told_at IS NULL;
CREATE INDEX metrics_told ON metrics (told_sack, told_offset) WHERE told_at IS NOT NULL;

-- Listings walk the primary key or this one, and filter as they go.
CREATE INDEX metrics_by_name ON metrics (name, id);

-- For deleting archive policies, and for listings of what has a rare value. An index
-- that ended in the id would serve other listings too, but its pages are then written
-- in random order: creating metrics by the thousand takes twice as long with two such
-- indexes as with this one.
CREATE INDEX metrics_by_policy ON metrics (archive_policy);
CREATE INDEX metrics_by_creator ON metrics (creator);
CREATE INDEX metrics_by_unit ON metrics (unit) WHERE unit IS NOT NULL;
