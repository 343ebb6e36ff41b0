package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Every variable in the compose file is a setting, and each service is one that starts.
func TestCompose(t *testing.T) {
	text, err := os.ReadFile("../../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Environment map[string]string
		}
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	ours := 0
	for name, service := range compose.Services {
		if !strings.HasPrefix(name, "millrace") {
			continue
		}
		ours++
		var environ []string
		for variable, value := range service.Environment {
			environ = append(environ, variable+"="+value)
		}
		slices.Sort(environ)
		if _, strange, err := loadConfig(t, "", environ...); err != nil || len(strange) > 0 {
			t.Errorf("%s: %v, no settings are %q", name, err, strange)
		}
	}
	if ours < 2 {
		t.Errorf("%d services are ours", ours)
	}
}
