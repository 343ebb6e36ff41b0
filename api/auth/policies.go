package auth

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Policies say whom each rule lets pass. They never change.
type Policies struct{ rules [len(rules)]allowance }

// ReadPolicies reads a policy file: a map, in YAML or JSON, of the names of rules to
// whom they let pass. A rule that isn't there stays as it is. A value is a text in
// which alternatives are joined by " or ", as oslo.policy has them, or a list of
// alternatives:
//
//	get status: role:admin or role:reader
//	create archive policy: [role:admin, role:service]
//	list resource: ""                                  # whoever is authenticated
//	delete metric: "!"                                 # nobody
//	get measures: [role:admin, creator, metric owner]
//
// The alternatives are role:NAME; creator, resource owner and metric owner, also as
// rule:creator and so on; rule:admin_or_creator; @ or nothing, for anyone; and !, for
// nobody. Of list metric, creator and metric owner go together. The error joins all
// that is wrong, each with its line.
func ReadPolicies(file string) (*Policies, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the policy file: %w", err)
	}
	return parsePolicies(file, data)
}

func parsePolicies(file string, data []byte) (*Policies, error) {
	p := new(Policies)
	for r := range rules {
		p.rules[r].pass = rules[r].pass
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("%s is not YAML: %w", file, err)
	}
	if len(document.Content) == 0 { // nothing but comments
		return p, nil
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: not a map of rules", file, root.Line)
	}
	var errs []error
	seen := make(map[string]bool)
	for i := 0; i < len(root.Content); i += 2 {
		name, value := root.Content[i], root.Content[i+1]
		if err := p.set(name.Value, value, seen); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", file, name.Line, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

// set sets one rule.
func (p *Policies) set(name string, value *yaml.Node, seen map[string]bool) error {
	r := Rule(slices.IndexFunc(rules[:], func(r ruleRow) bool { return r.name == name }))
	if r <= Anyone {
		return fmt.Errorf("there is no rule %q", name)
	}
	if seen[name] {
		return fmt.Errorf("rule %q is there twice", name)
	}
	seen[name] = true
	a, err := parseAllowance(value)
	if err != nil {
		return fmt.Errorf("rule %q: %w", name, err)
	}
	if r == ListMetric && a.pass&anyone == 0 && (a.pass&creator == 0) != (a.pass&metricOwner == 0) {
		return fmt.Errorf("rule %q: creator and metric owner go together, as a listing has both or neither", name)
	}
	p.rules[r] = a
	return nil
}

func parseAllowance(value *yaml.Node) (a allowance, err error) {
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	var texts []string
	switch value.Kind {
	case yaml.ScalarNode:
		if value.Tag == "!!null" {
			return a, errors.New(`there is no value: "" lets everybody pass, "!" nobody`)
		}
		texts = strings.Split(value.Value, " or ")
	case yaml.SequenceNode:
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode {
				return a, errors.New("an alternative is not a text")
			}
			texts = append(texts, item.Value)
		}
	default:
		return a, errors.New("neither a text nor a list")
	}
	for _, text := range texts {
		if err := a.add(strings.TrimSpace(text)); err != nil {
			return a, err
		}
	}
	return a, nil
}

// alternatives are the words of policy files but roles.
var alternatives = map[string]who{
	"": anyone, "@": anyone, "!": 0,
	"creator": creator, "rule:creator": creator,
	"resource owner": resourceOwner, "rule:resource_owner": resourceOwner,
	"metric owner": metricOwner, "rule:metric_owner": metricOwner,
	"rule:admin": admin, "rule:service": service, "rule:admin_or_creator": admin | creator,
}

func (a *allowance) add(alternative string) error {
	if w, ok := alternatives[alternative]; ok {
		a.pass |= w
		return nil
	}
	role, ok := strings.CutPrefix(alternative, "role:")
	if !ok || role == "" || strings.ContainsAny(role, " ()") {
		return fmt.Errorf(
			"%q is not known: want role:NAME, creator, resource owner, metric owner, @ (anyone) or ! (nobody)",
			alternative,
		)
	}
	switch {
	case strings.EqualFold(role, "admin"):
		a.pass |= admin
	case strings.EqualFold(role, "service"):
		a.pass |= service
	default:
		a.roles = append(a.roles, role)
	}
	return nil
}
