package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// newRoot returns the command line. The settings come from the file that --config
// names and from the environment.
func newRoot(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "millrace",
		Short: "A time series database that speaks Gnocchi's API and acknowledges only what is durable",
		Long: `Millrace takes measures in over HTTP (the Gnocchi v1 REST API), acknowledges them as soon as they
are durable in a log, and grinds them into aggregates behind that acknowledgement.

Every setting has a default, a place in the YAML file that --config names, and an environment
variable that wins over it: api.listen is MILLRACE_API_LISTEN. "millrace serve --help" lists them.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	source := &configSource{environ: environ}
	root.PersistentFlags().StringVar(&source.file, "config", "", "YAML file with settings")
	root.AddCommand(
		newServe(source),
		newImport(source),
		newStatus(source),
		newDeadLetters(source),
		newIndex(source),
		newCheck(source),
		newBench(source),
		newVersion(),
	)
	return root
}

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = ""

// versionString is what the build says of itself: the version that it was given, or
// the commit that it was made from.
func versionString() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if revision == "" {
		return "development"
	}
	return revision + dirty
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			goVersion := "unknown Go"
			if info, ok := debug.ReadBuildInfo(); ok {
				goVersion = info.GoVersion
			}
			fmt.Fprintf(cmd.OutOrStdout(), "millrace %s (%s)\n", versionString(), goVersion)
		},
	}
}
