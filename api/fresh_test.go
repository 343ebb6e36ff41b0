package api

import (
	"testing"

	"millrace/index"
)

// TestAttributeOfAnother uses an attribute, at once, that another process has added to a
// resource type.
func TestAttributeOfAnother(t *testing.T) {
	url := "sqlite:" + t.TempDir() + "/index.db"
	one := newHouse(t, build{url: url})
	one.run(t, []step{{"a type", "POST", "/v1/resource_type", call{as: "admin", body: `{"name": "vm"}`}, 201,
		nil, "", nil}})
	other := newHouse(t, build{url: url, index: index.Config{Refresh: -1}}) // it never hears of anything
	one.run(t, []step{{"an attribute", "PATCH", "/v1/resource_type/vm", call{as: "admin", header: patchType,
		body: `[{"op": "add", "path": "/attributes/rack", "value": {"type": "string", "required": false}}]`},
		200, []string{`"rack"`}, "", nil}})
	other.run(t, []step{
		{"search", "POST", "/v1/search/resource/vm", call{body: `{"=": {"rack": "r1"}}`}, 200,
			[]string{"[]"}, "", nil},
		{"create", "POST", "/v1/resource/vm", call{body: `{"id": "a", "rack": "r1"}`}, 201,
			[]string{`"rack": "r1"`}, "", nil},
	})
	one.run(t, []step{{"one more", "PATCH", "/v1/resource_type/vm", call{as: "admin", header: patchType,
		body: `[{"op": "add", "path": "/attributes/row", "value": {"type": "string", "required": false}}]`},
		200, []string{`"row"`}, "", nil}})
	other.run(t, []step{
		{"change", "PATCH", "/v1/resource/vm/a", call{body: `{"row": "7"}`}, 200, []string{`"row": "7"`}, "", nil},
		{"never", "PATCH", "/v1/resource/vm/a", call{body: `{"never": "7"}`}, 400,
			[]string{"extra keys not allowed @ data['never']"}, "", nil},
	})
}
