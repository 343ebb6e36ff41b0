package auth

// A Rule is one thing that a caller may or may not do.
type Rule int

// The rules, as the v1 API names them.
const (
	Anyone Rule = iota // any authenticated caller, whatever the object

	GetStatus
	CreateResource
	GetResource
	ListResource
	UpdateResource
	DeleteResource
	DeleteResources
	SearchResource
	CreateResourceType
	UpdateResourceType
	DeleteResourceType
	GetResourceType
	ListResourceType
	CreateArchivePolicy
	GetArchivePolicy
	ListArchivePolicy
	UpdateArchivePolicy
	DeleteArchivePolicy
	CreateArchivePolicyRule
	GetArchivePolicyRule
	ListArchivePolicyRule
	UpdateArchivePolicyRule
	DeleteArchivePolicyRule
	CreateMetric
	GetMetric
	ListMetric
	SearchMetric
	DeleteMetric
	GetMeasures
	PostMeasures

	ManageDeadLetters // ours: list, replay and purge
)

// Who a rule lets pass: any of these.
type who uint8

const (
	anyone        who = 1 << iota // whoever is authenticated
	admin                         // role
	service                       // role
	creator                       // the object's creator, or somebody of the creator's project
	resourceOwner                 // somebody of the project that the resource belongs to
	metricOwner                   // somebody of the project of the metric's resource
)

type ruleRow struct {
	name string
	pass who
}

var rules = [...]ruleRow{
	Anyone:                  {"anyone", anyone},
	GetStatus:               {"get status", admin},
	CreateResource:          {"create resource", anyone},
	GetResource:             {"get resource", admin | creator | resourceOwner},
	ListResource:            {"list resource", admin | creator | resourceOwner},
	UpdateResource:          {"update resource", admin | service | creator},
	DeleteResource:          {"delete resource", admin | creator},
	DeleteResources:         {"delete resources", admin | creator},
	SearchResource:          {"search resource", admin | service | creator | resourceOwner},
	CreateResourceType:      {"create resource type", admin | service},
	UpdateResourceType:      {"update resource type", admin | service},
	DeleteResourceType:      {"delete resource type", admin},
	GetResourceType:         {"get resource type", anyone},
	ListResourceType:        {"list resource type", anyone},
	CreateArchivePolicy:     {"create archive policy", admin | service},
	GetArchivePolicy:        {"get archive policy", anyone},
	ListArchivePolicy:       {"list archive policy", anyone},
	UpdateArchivePolicy:     {"update archive policy", admin},
	DeleteArchivePolicy:     {"delete archive policy", admin},
	CreateArchivePolicyRule: {"create archive policy rule", admin},
	GetArchivePolicyRule:    {"get archive policy rule", anyone},
	ListArchivePolicyRule:   {"list archive policy rule", anyone},
	UpdateArchivePolicyRule: {"update archive policy rule", admin},
	DeleteArchivePolicyRule: {"delete archive policy rule", admin},
	CreateMetric:            {"create metric", anyone},
	GetMetric:               {"get metric", admin | service | creator | metricOwner},
	ListMetric:              {"list metric", admin | creator | metricOwner},
	SearchMetric:            {"search metric", admin | creator | metricOwner},
	DeleteMetric:            {"delete metric", admin | creator},
	GetMeasures:             {"get measures", admin | service | creator | metricOwner},
	PostMeasures:            {"post measures", admin | service | creator},
	ManageDeadLetters:       {"manage dead letters", admin},
}

// String returns the rule's name, as policy files write it.
func (r Rule) String() string { return rules[r].name }

// A Permit is one rule applied to one caller: what is left to decide depends on
// the object only.
type Permit struct {
	id     *Identity
	pass   who
	always bool
}

// Permit applies a rule to the caller. It keeps id.
func (id *Identity) Permit(r Rule) Permit {
	if id.Policies != nil {
		a := &id.Policies.rules[r]
		return Permit{id: id, pass: a.pass, always: a.always(id)}
	}
	a := allowance{pass: rules[r].pass}
	return Permit{id: id, pass: a.pass, always: a.always(id)}
}

// An allowance is whom a rule lets pass: any of these.
type allowance struct {
	pass  who
	roles []string // beyond admin and service
}

// always says whether the caller passes whatever the object.
func (a *allowance) always(id *Identity) bool {
	if a.pass&anyone != 0 || a.pass&admin != 0 && id.Has("admin") || a.pass&service != 0 && id.Has("service") {
		return true
	}
	for _, role := range a.roles {
		if id.Has(role) {
			return true
		}
	}
	return false
}

// Always says whether the object does not matter.
func (p Permit) Always() bool { return p.always }

// Never says whether no object could make a difference.
func (p Permit) Never() bool { return !p.always && p.pass&(creator|resourceOwner|metricOwner) == 0 }

// Created says whether what the caller or their project has created may pass.
func (p Permit) Created() bool { return p.pass&creator != 0 }

// Owned says whether what belongs to the caller's project through a resource may pass.
func (p Permit) Owned() bool { return p.pass&(resourceOwner|metricOwner) != 0 }

// For says whether the caller may do it to an object of that creator, which
// belongs to that project through its resource (none: "").
func (p Permit) For(objectCreator, project string) bool {
	if p.always {
		return true
	}
	id := p.id
	if p.Created() {
		if id.Creator == objectCreator {
			return true
		}
		if _, by := CreatedBy(objectCreator); id.Project != "" && by == id.Project {
			return true
		}
	}
	return p.Owned() && id.Project != "" && id.Project == project
}
