// SPDX-License-Identifier: MPL-2.0

// Command eso refreshes a Kubernetes Secret as External Secrets Operator does. The operator's own code reads the
// manifest, finds the generator, logs in to Vault and reads the secret. KUBECONFIG names the Kubernetes API that
// issues the tokens of service accounts. The manifest's objects are in a fake API.
//
//	eso MANIFEST
//
// Each line on the standard input stands for one passed refreshInterval. The answer is a line of JSON: the data of
// the Secret and the state that the operator keeps for its cleanup, or the error of the refresh.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	genv1alpha1 "github.com/external-secrets/external-secrets/apis/generators/v1alpha1"
	_ "github.com/external-secrets/external-secrets/pkg/generator/vault" // registers the generator VaultDynamicSecret
	"github.com/external-secrets/external-secrets/pkg/utils"
	"github.com/external-secrets/external-secrets/pkg/utils/resolvers"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// namespace is where kubectl puts the objects of a manifest that names no namespace.
const namespace = "default"

func main() {
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	if err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "eso:", err)
		os.Exit(1)
	}
}

// answer is the outcome of one refresh.
type answer struct {
	Data  map[string]string                    `json:"data,omitempty"`
	State []genv1alpha1.GeneratorProviderState `json:"state,omitempty"`
	Error string                               `json:"error,omitempty"`
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: eso MANIFEST")
	}
	kube, secret, err := apply(args[0])
	if err != nil {
		return fmt.Errorf("applying %s: %w", args[0], err)
	}
	answers, intervals := json.NewEncoder(out), bufio.NewScanner(in)
	for intervals.Scan() {
		said, err := refresh(ctx, kube, secret)
		if err != nil {
			said = answer{Error: err.Error()}
		}
		if err = answers.Encode(said); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
	return intervals.Err()
}

// apply puts the objects of a manifest into a fake API, and returns the API and the only ExternalSecret. It refuses
// unknown kinds and unknown fields, as the operator's CRDs do.
func apply(file string) (client.Client, *esv1.ExternalSecret, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("reading it: %w", err)
	}
	scheme := runtime.NewScheme()
	if err = errors.Join(esv1.AddToScheme(scheme), genv1alpha1.AddToScheme(scheme)); err != nil {
		return nil, nil, fmt.Errorf("making the API: %w", err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	kube := fake.NewClientBuilder().WithScheme(scheme)
	var secret *esv1.ExternalSecret
	for documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("splitting it: %w", err)
		}
		decoded, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return nil, nil, fmt.Errorf("decoding it: %w", err)
		}
		object, ok := decoded.(client.Object)
		if !ok {
			return nil, nil, fmt.Errorf("%T is no object", decoded)
		}
		object.SetNamespace(namespace)
		kube.WithObjects(object)
		if found, ok := object.(*esv1.ExternalSecret); ok {
			if secret != nil {
				return nil, nil, errors.New("it has two ExternalSecrets")
			}
			secret = found
		}
	}
	if secret == nil {
		return nil, nil, errors.New("it has no ExternalSecret")
	}
	return kube.Build(), secret, nil
}

// refresh copies the operator's controller, which calls the generator after each refreshInterval. The controller itself
// imports every provider of the operator, and has twice as many packages.
func refresh(ctx context.Context, kube client.Client, secret *esv1.ExternalSecret) (answer, error) {
	merged := map[string][]byte{}
	var said answer
	for _, source := range secret.Spec.DataFrom {
		generator, object, err := resolvers.GeneratorRef(ctx, kube, kube.Scheme(), secret.Namespace, source.SourceRef.GeneratorRef)
		if err != nil {
			return answer{}, err
		}
		data, state, err := generator.Generate(ctx, object, kube, secret.Namespace)
		if err != nil {
			return answer{}, fmt.Errorf("error using generator: %w", err)
		}
		if state != nil {
			said.State = append(said.State, state)
		}
		if data, err = utils.RewriteMap(source.Rewrite, data); err != nil {
			return answer{}, err
		}
		if err = utils.ValidateKeys(ctrl.Log, data); err != nil {
			return answer{}, err
		}
		maps.Copy(merged, data)
	}
	said.Data = map[string]string{}
	for key, value := range merged {
		said.Data[key] = string(value)
	}
	return said, nil
}
