-- The order in which resources are listed is that in which they were created: listed_at,
-- in nanoseconds since 1970, never changes, so that pages neither repeat nor miss a
-- resource that somebody changes between them.
ALTER TABLE resources ADD COLUMN listed_at BIGINT NOT NULL DEFAULT 0;

UPDATE resources SET listed_at = coalesce(
    (SELECT min(h.revision_start) FROM resource_history AS h WHERE h.id = resources.id), revision_start);

CREATE INDEX resources_by_place ON resources (listed_at, id);
CREATE INDEX resources_by_type_place ON resources (type_id, listed_at, id);

DROP INDEX resources_by_project;
DROP INDEX resources_by_user;
CREATE INDEX resources_by_project ON resources (project_id, listed_at, id);
CREATE INDEX resources_by_user ON resources (user_id, listed_at, id);

-- Where resources stood that were deleted lately, for pages that begin after one, and
-- for the same resource when it is created again.
CREATE TABLE deleted_resources (
    id         {bytes} NOT NULL PRIMARY KEY,
    listed_at  BIGINT  NOT NULL,
    deleted_at BIGINT  NOT NULL
);

CREATE INDEX deleted_resources_by_time ON deleted_resources (deleted_at);
