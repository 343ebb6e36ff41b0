package index

import (
	"sync"
	"testing"
)

// testFresh has a process that never hears of what another changes ask for it.
func testFresh(t *testing.T, open opener) {
	x, _, _ := withTypes(t, open)
	deaf := open(Config{Refresh: -1})
	ctx := t.Context()
	seen := value(deaf.ResourceType(ctx, "instance"))(t)
	if same := value(deaf.FreshResourceType(ctx, seen))(t); same != seen {
		t.Error("a type that hasn't changed is another")
	}
	attributes := append(seen.list(), Attribute{Name: "rack", Type: AttributeString, MaxLength: 255})
	value(x.UpdateResourceType(ctx, value(x.ResourceType(ctx, "instance"))(t), attributes, nil))(t)
	if value(deaf.ResourceType(ctx, "instance"))(t).Attribute("rack") != nil {
		t.Fatal("it has heard of the change")
	}
	if value(deaf.FreshResourceType(ctx, seen))(t).Attribute("rack") == nil {
		t.Error("the attribute isn't found")
	}
	must(t, x.CreateResourceType(ctx, &ResourceType{Name: "disk"}))
	value(deaf.ResourceType(ctx, "disk"))(t)
	policy := *value(x.Policy(ctx, "low"))(t)
	policy.Name = "mine"
	must(t, x.CreatePolicy(ctx, &policy))
	must(t, x.CreateRule(ctx, Rule{"all", "*", "mine"}))
	if r, found, err := deaf.MatchRule(ctx, "cpu"); err != nil || !found || r.Policy != "mine" {
		t.Errorf("rule %v, %t, %v", r, found, err)
	}
	value(deaf.Policy(ctx, "mine"))(t)
	value(deaf.Rule(ctx, "all"))(t)
	must(t, x.DeleteResourceType(ctx, "instance"))
	wantError(t, second(deaf.FreshResourceType(ctx, seen)), ErrNotFound, "Resource type instance does not exist")
	var all sync.WaitGroup // those who ask together share answers
	for range 50 {
		all.Go(func() {
			wantError(t, second(deaf.ResourceType(ctx, "nope")), ErrNotFound, "Resource type nope does not exist")
		})
	}
	all.Wait()
}
