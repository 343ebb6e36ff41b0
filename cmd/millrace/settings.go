package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"millrace/api/gnocchi"
)

// A setting is one leaf of the configuration.
type setting struct {
	key, help string
	standard  string   // the text of its default; none: the zero value
	oneOf     []string // what it may be; anything where there are none
	into      any      // pointer to the field
}

// settings lists the leaves of a configuration, which they point into.
func (c *config) settings() []setting { return leaves(reflect.ValueOf(c).Elem(), "") }

func leaves(section reflect.Value, prefix string) []setting {
	var list []setting
	for i := range section.NumField() {
		tag := section.Type().Field(i).Tag
		key := prefix + tag.Get("name")
		if help := tag.Get("help"); help != "" {
			list = append(list, setting{
				key: key, help: help, standard: tag.Get("default"), oneOf: strings.Fields(tag.Get("oneof")),
				into: section.Field(i).Addr().Interface(),
			})
		} else {
			list = append(list, leaves(section.Field(i), key+".")...)
		}
	}
	return list
}

// parse sets a setting from its text. Errors quote no text of secrets.
func (s *setting) parse(text string) (err error) {
	switch v := s.into.(type) {
	case *string:
		*v = text
	case *secret:
		*v = secret(text)
	case *bool:
		if *v, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
	case *int:
		if *v, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
	case *float64:
		var ok bool
		if *v, ok = gnocchi.ParseFloat(text); !ok {
			return fmt.Errorf("%q is not a number", text)
		}
	case *time.Duration: // a bare number is refused: of what unit?
		if *v, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%q is not a duration such as 90s or 1h30m", text)
		}
	case *size:
		return v.UnmarshalText([]byte(text))
	case *[]string:
		*v = nil
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*v = append(*v, item)
			}
		}
	case *map[string]secret:
		*v = make(map[string]secret)
		for item := range strings.SplitSeq(text, ",") {
			name, value, ok := strings.Cut(item, "=")
			if name = strings.TrimSpace(name); !ok || name == "" {
				return errors.New("not of the form name=value,name=value")
			}
			(*v)[name] = secret(strings.TrimSpace(value))
		}
	default:
		panic(fmt.Sprintf("BUG: setting %s is a %T", s.key, s.into))
	}
	return nil
}

// decode sets a setting from a node of a YAML document. Null leaves the default.
func (s *setting) decode(node *yaml.Node) error {
	switch into := s.into.(type) {
	case *[]string:
		if node.Kind == yaml.SequenceNode {
			*into = nil
			for _, item := range node.Content {
				if item = resolve(item); item.Kind != yaml.ScalarNode {
					return errors.New("must be a list of texts")
				}
				*into = append(*into, item.Value)
			}
			return nil
		}
	case *map[string]secret:
		if node.Kind == yaml.MappingNode {
			*into = make(map[string]secret)
			for i := 0; i < len(node.Content); i += 2 {
				value := resolve(node.Content[i+1])
				if value.Kind != yaml.ScalarNode {
					return errors.New("must be a map of names to texts")
				}
				(*into)[node.Content[i].Value] = secret(value.Value)
			}
			return nil
		}
	}
	switch {
	case node.Kind != yaml.ScalarNode:
		return errors.New("must be a single value")
	case node.Tag == "!!null":
		return nil
	}
	return s.parse(node.Value)
}

// resolve follows an alias (*name) to its anchor.
func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// readYAML sets what a file says. The error joins all that is wrong in it.
//
// The library can't do this by itself: decoding into structs with known fields names Go
// types in its errors and not keys (field listne not found in type apiConfig), quotes
// secrets in them, takes 1.5 for the whole number 1, and knows no environment.
func readYAML(file string, data []byte, known []setting) error {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return fmt.Errorf("%s is not YAML: %w", file, err)
	}
	if len(document.Content) == 0 { // nothing but comments
		return nil
	}
	r := yamlReader{file: file, known: known, seen: make(map[string]bool)}
	r.section(document.Content[0], "")
	return errors.Join(r.errs...)
}

type yamlReader struct {
	file  string
	known []setting
	seen  map[string]bool // keys
	errs  []error
}

func (r *yamlReader) complain(node *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s:%d: "+format, append([]any{r.file, node.Line}, args...)...))
}

// section reads a map of keys; prefix is "" or ends in a dot.
func (r *yamlReader) section(node *yaml.Node, prefix string) {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null": // everything below it is commented out
		return
	case node.Kind != yaml.MappingNode:
		r.complain(node, "%q must have settings below it", strings.TrimSuffix(prefix, "."))
		return
	}
	for i := 0; i < len(node.Content); i += 2 {
		name, value := node.Content[i], resolve(node.Content[i+1])
		key := prefix + name.Value
		if r.seen[key] {
			r.complain(name, "%s is set twice", key)
			continue
		}
		r.seen[key] = true
		at := slices.IndexFunc(r.known, func(s setting) bool { return s.key == key })
		switch {
		case at >= 0:
			if err := r.known[at].decode(value); err != nil {
				r.complain(name, "%s: %w", key, err)
			}
		case slices.ContainsFunc(r.known, func(s setting) bool { return strings.HasPrefix(s.key, key+".") }):
			r.section(value, key+".")
		default:
			r.complain(name, "there is no setting %q", key)
		}
	}
}

const envPrefix = "MILLRACE_"

// variable is the name of a setting's environment variable.
func (s *setting) variable() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// readEnvironment sets what the environment says. It can't refuse what it doesn't
// know: orchestrators put variables of their own there (MILLRACE_SERVICE_HOST),
// tests as well (MILLRACE_TEST_...).
func readEnvironment(environ []string, known []setting) (strange []string, err error) {
	var errs []error
	for _, pair := range environ {
		name, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if i := slices.IndexFunc(known, func(s setting) bool { return s.variable() == name }); i >= 0 {
			if err := known[i].parse(text); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		} else if !strings.HasPrefix(name, envPrefix+"TEST_") && name != passwordVariable && name != tokenVariable {
			strange = append(strange, name)
		}
	}
	return strange, errors.Join(errs...)
}

// explain says what a setting is for, and what it may be where that is a choice.
func (s *setting) explain() string {
	if len(s.oneOf) == 0 {
		return s.help
	}
	return s.help + " (" + strings.Join(s.oneOf, ", ") + ")"
}

// settingsHelp lists every setting for --help, with its default.
func settingsHelp() string {
	var b strings.Builder
	for _, s := range new(config).settings() {
		fmt.Fprintf(&b, "  %-28s %s", s.key, s.explain())
		if s.standard != "" {
			fmt.Fprintf(&b, " [%s]", s.standard)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// exampleYAML is a configuration file with every setting, each commented out with
// its default.
func exampleYAML() string {
	var b strings.Builder
	b.WriteString(`# Every setting of millrace with its default: take the # off what you want to change.
# The environment wins over this file: api.listen is MILLRACE_API_LISTEN.

`)
	var within []string // the sections that the last setting was in
	for _, s := range new(config).settings() {
		path := strings.Split(s.key, ".")
		sections, name := path[:len(path)-1], path[len(path)-1]
		for i, section := range sections {
			if i >= len(within) || !slices.Equal(within[:i+1], sections[:i+1]) {
				fmt.Fprintf(&b, "\n%s%s:\n", strings.Repeat("  ", i), section)
			}
		}
		within = sections
		indent := strings.Repeat("  ", len(sections))
		fmt.Fprintf(&b, "%s# %s\n%s#%s: %s\n", indent, s.explain(), indent, name, s.example())
	}
	return b.String()
}

// example is the default as YAML.
func (s *setting) example() string {
	if s.standard != "" {
		return s.standard
	}
	switch v := s.into.(type) {
	case *string, *secret:
		return `""`
	case *[]string:
		return "[]"
	case *map[string]secret:
		return "{}"
	default:
		return fmt.Sprint(reflect.ValueOf(v).Elem())
	}
}
