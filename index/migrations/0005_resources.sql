-- Resource types. attributes is a JSON list of attributes. id names a type for
-- ever, also when another of the same name follows it.
CREATE TABLE resource_types (
    id         {serial},
    name       {text} NOT NULL UNIQUE,
    attributes TEXT   NOT NULL
);

INSERT INTO resource_types (name, attributes) VALUES ('generic', '[]');

-- Resources as they are. Times are nanoseconds since 1970. attributes is a JSON
-- object of the type's attributes; those that searches look at have an index of
-- their own, which comes and goes with the attribute.
CREATE TABLE resources (
    id             {bytes} NOT NULL PRIMARY KEY,
    type_id        BIGINT  NOT NULL REFERENCES resource_types (id),
    original_id    {text}  NOT NULL,
    creator        {text}  NOT NULL,
    user_id        {text},
    project_id     {text},
    started_at     BIGINT  NOT NULL,
    ended_at       BIGINT,
    revision_start BIGINT  NOT NULL,
    attributes     {json}  NOT NULL
);

-- The order in which resources are listed, of one type and of all.
CREATE INDEX resources_by_start ON resources (revision_start, started_at, id);
CREATE INDEX resources_by_type ON resources (type_id, revision_start, started_at, id);

CREATE INDEX resources_by_original ON resources (original_id);
CREATE INDEX resources_by_project ON resources (project_id, revision_start, started_at, id);
CREATE INDEX resources_by_user ON resources (user_id, revision_start, started_at, id);

-- What resources were before.
CREATE TABLE resource_history (
    revision       {serial},
    id             {bytes} NOT NULL REFERENCES resources (id),
    type_id        BIGINT  NOT NULL REFERENCES resource_types (id),
    original_id    {text}  NOT NULL,
    creator        {text}  NOT NULL,
    user_id        {text},
    project_id     {text},
    started_at     BIGINT  NOT NULL,
    ended_at       BIGINT,
    revision_start BIGINT  NOT NULL,
    revision_end   BIGINT  NOT NULL,
    attributes     {json}  NOT NULL
);

CREATE INDEX resource_history_by_id ON resource_history (id, revision_start);
CREATE INDEX resource_history_by_start ON resource_history (revision_start, started_at, id);
CREATE INDEX resource_history_by_type ON resource_history (type_id, revision_start, started_at, id);
