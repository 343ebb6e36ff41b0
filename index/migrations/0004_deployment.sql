-- Which deployment the index is a part of: made once, by the first process. id is
-- random; its log and its storage carry it as well.
CREATE TABLE deployment (
    one        BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    id         {text} NOT NULL,
    sacks      BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- The logs that the deployment has had. Offsets of a log lie above its base. One of
-- them is current, the others are closed (current is null).
CREATE TABLE logs (
    id        {text} NOT NULL,
    base      BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    closed_at BIGINT,
    current   BIGINT UNIQUE CHECK (current = 1),
    PRIMARY KEY (id, base)
);

-- How far each sack of a closed log had been applied when it was closed.
CREATE TABLE log_ends (
    id      {text} NOT NULL,
    base    BIGINT NOT NULL,
    sack    BIGINT NOT NULL,
    applied BIGINT NOT NULL,
    PRIMARY KEY (id, base, sack),
    FOREIGN KEY (id, base) REFERENCES logs (id, base)
);

-- The processes of the deployment. started_at and beat_at are of the database's
-- clock, in nanoseconds since 1970; roles, formats are lists divided by commas.
CREATE TABLE processes (
    id         {text} NOT NULL PRIMARY KEY,
    host       {text} NOT NULL,
    roles      {text} NOT NULL,
    version    {text} NOT NULL,
    formats    {text} NOT NULL,
    log_id     {text} NOT NULL,
    log_base   BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    beat_at    BIGINT NOT NULL
);
