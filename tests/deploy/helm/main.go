// Program helm has two commands of Helm, by its own engine, without what talks to clusters:
//
//	helm template RELEASE CHART -f VALUES
//	helm lint CHART --strict -f VALUES
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 || args[3] != "-f" {
		return fmt.Errorf("helm template RELEASE CHART -f VALUES, or helm lint CHART --strict -f VALUES")
	}
	values, err := chartutil.ReadValuesFile(args[4])
	if err != nil {
		return err
	}
	if args[0] == "lint" {
		return check(args[1], values)
	}
	return render(args[1], args[2], values)
}

func check(path string, values chartutil.Values) error {
	linter := lint.All(path, values, "default", true)
	for _, message := range linter.Messages {
		fmt.Println(message)
	}
	if linter.HighestSeverity >= support.WarningSev {
		return fmt.Errorf("the chart has faults")
	}
	return nil
}

func render(release, path string, values chartutil.Values) error {
	chart, err := loader.Load(path)
	if err != nil {
		return err
	}
	options := chartutil.ReleaseOptions{Name: release, Namespace: "default", Revision: 1, IsInstall: true}
	merged, err := chartutil.ToRenderValues(chart, values, options, nil)
	if err != nil {
		return err
	}
	files, err := engine.Render(chart, merged)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(files[name]) != "" {
			fmt.Printf("---\n# Source: %s\n%s\n", name, files[name])
		}
	}
	return nil
}
