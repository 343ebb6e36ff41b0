package gnocchi

import (
	"fmt"
	"strings"
)

// ParseBool reads the boolean that the parameter name of a query has: 1 t true y
// yes on, 0 f false n no off, of any case, with blanks around it or not. The
// error's text is the API's.
func ParseBool(name, text string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "1", "t", "true", "y", "yes", "on":
		return true, nil
	case "0", "f", "false", "n", "no", "off":
		return false, nil
	}
	return false, message(fmt.Sprintf("Unable to parse `%s': Unrecognized value '%s', acceptable values are: "+
		"'0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'", name, text))
}
