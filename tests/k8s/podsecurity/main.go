// Podsecurity says what the Pod Security admission of Kubernetes would say of pods at the level restricted.
//
// It reads a JSON array of pods and writes a JSON array as long: for each pod the reasons to refuse it, none if it is
// let in. The verdicts are those of k8s.io/pod-security-admission, which the API server itself asks.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

func main() {
	if err := judge(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func judge() error {
	var pods []corev1.Pod
	if err := json.NewDecoder(os.Stdin).Decode(&pods); err != nil {
		return fmt.Errorf("no JSON array of pods: %w", err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return err
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	refused := make([][]string, 0, len(pods))
	for _, pod := range pods {
		reasons := []string{}
		for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
			if !result.Allowed {
				reasons = append(reasons, result.ForbiddenReason+": "+result.ForbiddenDetail)
			}
		}
		refused = append(refused, reasons)
	}
	return json.NewEncoder(os.Stdout).Encode(refused)
}
