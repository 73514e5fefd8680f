// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template/parse"

	"github.com/hashicorp/go-secure-stdlib/base62"
	"github.com/hashicorp/vault/sdk/helper/template"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// nameData holds the values that a service_user_name_template can use.
type nameData struct{ RoleName, DisplayName string }

// exampleReader is the display name of a reader in the example of a refusal. exampleTemplate is a template that works.
const (
	exampleReader   = "jwt-acme/train"
	exampleTemplate = "{{.RoleName}}-{{.DisplayName}}"
)

// maxTemplateText limits the texts that a template makes on its way to a label.
const maxTemplateText = 4096

// templateFunctions are the functions that a template may use. The result of each is at most about as long as its
// arguments, or is limited by maxTemplateText.
var templateFunctions = []string{
	"random", "truncate", "truncate_sha256", "uppercase", "lowercase", "replace", "sha256", "base64", "unix_time", "unix_time_millis", "timestamp", "uuid",
	"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf",
}

// label returns the middle part of a lease's service user's name, as the role's template gives it. A template that
// fails for one reader must not keep the reader from a token: then the label is the role's name.
func (ls *Leases) label(p *model.DynamicPolicy, ask LeaseRequest) string {
	if p.NameTemplate == "" || modalapi.HoldsSecret(ask.DisplayName) { // a template could hide the secret's shape
		return ask.Role
	}
	label, err := applyNameTemplate(p.NameTemplate, nameData{RoleName: ask.Role, DisplayName: ask.DisplayName})
	if err != nil {
		ls.mount.Log().Warn("service_user_name_template failed for a read, so the service user has the role's name", "role", ask.Role, "error", modalapi.Redact(err.Error()))
		return ask.Role
	}
	return label
}

// checkNameTemplate refuses a service_user_name_template that cannot be used. The refusal has an example of its result,
// or of a template that works.
func (rs *Roles) checkNameTemplate(role string, p *model.DynamicPolicy) error {
	if p.NameTemplate == "" {
		return nil
	}
	example := nameData{RoleName: role, DisplayName: exampleReader}
	text, err := applyNameTemplate(p.NameTemplate, example)
	if err == nil && model.NameLabel(text, maxTemplateText) != "" {
		return nil
	}
	reason := fmt.Sprintf("for a reader with the display name %s it gives %q, which has no letter or digit that a name at Modal can have", exampleReader, text)
	switch {
	case err != nil:
		reason = modalapi.Redact(err.Error())
	case modalapi.HoldsSecret(text):
		reason = "its result has the shape of a token secret"
	}
	works, err := applyNameTemplate(exampleTemplate, example)
	if err != nil {
		return err
	}
	return model.UserErrorf("service_user_name_template cannot be used: %s; %s works, and gives the service user the name %s; nothing was changed",
		reason, exampleTemplate, rs.mount.ServiceUserName(role, works))
}

// applyNameTemplate returns the result of a service_user_name_template.
func applyNameTemplate(text string, data nameData) (string, error) {
	if err := checkTemplateNodes(text); err != nil {
		return "", err
	}
	parsed, err := template.NewTemplate(template.Template(text),
		template.Function("random", limitedRandom), template.Function("replace", limitedReplace),
		template.Function("print", func(args ...any) (string, error) { return limited(fmt.Sprint(args...)) }),
		template.Function("printf", func(format string, args ...any) (string, error) { return limited(fmt.Sprintf(format, args...)) }))
	if err != nil {
		return "", plainTemplateError(err)
	}
	result, err := parsed.Generate(data)
	if err != nil {
		return "", plainTemplateError(err)
	}
	return result, nil
}

// plainTemplateError removes the words of Vault's and Go's libraries before the place of a mistake.
func plainTemplateError(err error) error {
	text := err.Error()
	for _, words := range []string{"unable to parse template: ", "unable to apply template: ", "template: "} {
		text = strings.TrimPrefix(text, words)
	}
	text = strings.ReplaceAll(text, `executing "template" at `, "at ")
	return errors.New(strings.ReplaceAll(text, fmt.Sprintf(" in type %T", nameData{}), ": a template knows .RoleName and .DisplayName"))
}

func limited(text string) (string, error) {
	if len(text) > maxTemplateText {
		return "", fmt.Errorf("a text of %d bytes is too long", len(text))
	}
	return text, nil
}

func limitedRandom(length int) (string, error) {
	if length < 0 || length > maxTemplateText {
		return "", fmt.Errorf("random makes at most %d characters", maxTemplateText)
	}
	return base62.Random(length)
}

func limitedReplace(find, replacement, text string) (string, error) {
	if len(replacement) > maxTemplateText || len(text) > maxTemplateText {
		return "", errors.New("a text for replace is too long")
	}
	return limited(strings.ReplaceAll(text, find, replacement))
}

// checkTemplateNodes refuses a template that could take much memory or time: loops, templates inside the template, and
// functions outside templateFunctions. Anyone who can write a role could otherwise stop the plugin.
func checkTemplateNodes(text string) error {
	tree := parse.New("template")
	tree.Mode = parse.SkipFuncCheck
	all := map[string]*parse.Tree{}
	if _, err := tree.Parse(text, "", "", all); err != nil {
		return plainTemplateError(err)
	}
	for name := range all {
		if name != tree.Name {
			return errors.New("it defines another template")
		}
	}
	return checkNode(tree.Root)
}

func checkNode(node parse.Node) error {
	switch node := node.(type) {
	case *parse.ListNode:
		if node == nil { // no else
			return nil
		}
		return checkNodes(node.Nodes)
	case *parse.ActionNode:
		return checkNode(node.Pipe)
	case *parse.IfNode:
		return checkNodes([]parse.Node{node.Pipe, node.List, node.ElseList})
	case *parse.WithNode:
		return checkNodes([]parse.Node{node.Pipe, node.List, node.ElseList})
	case *parse.PipeNode:
		for _, command := range node.Cmds {
			if err := checkNodes(command.Args); err != nil {
				return err
			}
		}
	case *parse.ChainNode:
		return checkNode(node.Node)
	case *parse.IdentifierNode:
		if !slices.Contains(templateFunctions, node.Ident) {
			return fmt.Errorf("function %q is not among %s", node.Ident, strings.Join(templateFunctions, ", "))
		}
	case *parse.TextNode, *parse.FieldNode, *parse.VariableNode, *parse.DotNode, *parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.NilNode, *parse.CommentNode:
	default:
		return fmt.Errorf("it has %q, and a template can use values, functions, if and with", node)
	}
	return nil
}

func checkNodes(nodes []parse.Node) error {
	for _, node := range nodes {
		if err := checkNode(node); err != nil {
			return err
		}
	}
	return nil
}
