// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// ofServiceUsers are the rows that need a token which may manage service users.
var ofServiceUsers = []string{
	"refused-deleted", "refused-expired", "refused-lasting", "deleted-at-once", "deleted-with-user",
	"refused-made-nothing", "name-taken", "name-length", "scoped", "effective-role", "not-for-you", "unknown-environment", "new-token",
	"expiry-told", "expiry-deletes", "longest-life", "delete-service-users-token",
}

// tenYears is longer than any sensible lifetime.
const tenYears = 10 * 365 * 24 * time.Hour

func (t *trial) serviceUsers(ctx context.Context) {
	_, err := t.client.ServiceUsers(ctx, t.own)
	switch kind := modalapi.KindOf(err); {
	case err == nil:
		t.skip("this workspace has service users", "no-plan")
	case kind == modalapi.KindForbidden:
		t.find("not-for-you", true, "a member without the right to manage service users got %s", answer(err))
	case kind == modalapi.KindConflict || kind == modalapi.KindUnsupported:
		t.find("no-plan", true, "the answer was %s", answer(err))
	default:
		t.find("no-plan", false, "the answer was %s", answer(err))
	}
	if err != nil {
		t.skip("this token may not manage service users, or the plan has no service users", ofServiceUsers...)
		t.skip("this token may not manage service users", "no-plan")
		return
	}
	user, made := t.create(ctx, "new-token", modalapi.NewServiceUser{Name: t.prefix + "first", Scoped: true})
	if !made {
		t.skip("the first service user could not be created", ofServiceUsers...)
		return
	}
	took, met := until(ctx, patience, func() bool { return t.accepted(ctx, user.Token) })
	t.find("new-token", met, "accepted after %s", took.Round(time.Millisecond))
	t.taken(ctx, user)
	t.scope(ctx, user)
	_, err = t.client.ServiceUsers(ctx, user.Token)
	t.find("not-for-you", modalapi.KindOf(err) == modalapi.KindForbidden, "a service user that requested the list got %s", answer(err))
	_, err = t.client.AuditLog(ctx, user.Token, t.started, t.started.Add(auditSpan))
	t.robotOfAudit = "; a service user got " + answer(err)
	t.longName(ctx)
	t.longLife(ctx)
	t.expiry(ctx)
	t.deletion(ctx, user)
}

// mint is not cancelled. Otherwise Modal could create the service user after the clean-up.
func (t *trial) mint(ctx context.Context, user modalapi.NewServiceUser) (modalapi.MintedServiceUser, error) {
	if err := ctx.Err(); err != nil {
		return modalapi.MintedServiceUser{}, err
	}
	made, err := t.client.CreateServiceUser(context.WithoutCancel(ctx), t.own, user)
	if err == nil {
		t.made = append(t.made, made.ID)
	}
	return made, err
}

// create creates a service user. A failure fails the row.
func (t *trial) create(ctx context.Context, id string, user modalapi.NewServiceUser) (modalapi.MintedServiceUser, bool) {
	made, err := t.mint(ctx, user)
	if err != nil {
		t.find(id, false, "ServiceUserCreate answered %s", answer(err))
		return made, false
	}
	if flaw := made.Flaw(); flaw != "" {
		t.find(id, false, "the answer of ServiceUserCreate is not usable: %s", flaw)
		return made, false
	}
	return made, true
}

// taken asks for an existing name, and for a malformed name.
func (t *trial) taken(ctx context.Context, user modalapi.MintedServiceUser) {
	name := t.prefix + "first"
	_, err := t.mint(ctx, modalapi.NewServiceUser{Name: name, Scoped: true})
	t.find("name-taken", modalapi.KindOf(err) == modalapi.KindExists, "the answer was %s", answer(err))
	_, malformed := t.mint(ctx, modalapi.NewServiceUser{Name: t.prefix + "NO GOOD", Scoped: true})
	users, err := t.client.ServiceUsers(ctx, t.own)
	if err != nil {
		t.find("refused-made-nothing", false, "ServiceUserList answered %s", answer(err))
		return
	}
	var ours []string
	for _, found := range users {
		if strings.HasPrefix(found.Name, t.prefix) {
			ours = append(ours, found.ID)
		}
	}
	t.find("refused-made-nothing", malformed != nil && slices.Equal(ours, []string{user.ID}),
		"after an existing and a malformed name (%s) the number of service users was %d", answer(malformed), len(ours))
}

// scope gives the service user a role in one environment.
func (t *trial) scope(ctx context.Context, user modalapi.MintedServiceUser) {
	environments, err := t.client.Environments(ctx, t.own)
	if err != nil || len(environments) == 0 {
		t.find("scoped", false, "EnvironmentList answered %s with %d environments", answer(err), len(environments))
		return
	}
	for _, environment := range environments {
		t.names = append(t.names, environment.Name)
	}
	before, errBefore := t.client.Environments(ctx, user.Token)
	err = t.client.SetEnvironmentRole(ctx, t.own, user.ID, environments[0].ID, modalapi.RoleViewer)
	if err != nil {
		t.find("scoped", false, "EnvironmentRoleSet answered %s", answer(err))
		return
	}
	var after []modalapi.Environment
	until(ctx, patience, func() bool {
		after, err = t.client.Environments(ctx, user.Token)
		return err == nil && len(after) > 0
	})
	told, errTold := t.client.ServiceUser(ctx, t.own, t.prefix+"first")
	t.find("scoped", errTold == nil && told.Scoped && len(before) == 0 && len(after) == 1 && after[0].ID == environments[0].ID,
		"of %d environments it saw %d without a role (%s), %d with one (%s); scoped was read back as %t",
		len(environments), len(before), answer(errBefore), len(after), answer(err), told.Scoped)
	t.find("effective-role", len(after) == 1 && after[0].Role == modalapi.RoleViewer, "%s", rolesIn(after))

	err = t.client.SetEnvironmentRole(ctx, t.own, user.ID, "en-"+strings.Repeat("0", 22), modalapi.RoleViewer)
	kind := modalapi.KindOf(err)
	t.find("unknown-environment", kind == modalapi.KindNotFound || kind == modalapi.KindInvalid, "the answer was %s", answer(err))
}

// rolesIn describes the caller's roles, in as many environments as it sees.
func rolesIn(environments []modalapi.Environment) string {
	saw := []string{}
	for _, environment := range environments {
		saw = append(saw, cmp.Or(string(environment.Role), "no role"))
	}
	return fmt.Sprintf("a viewer was shown %s in %d environments", cmp.Or(strings.Join(saw, ", "), "nothing"), len(environments))
}

// longName creates a service user with a long name and tries to end it with TokenDelete.
func (t *trial) longName(ctx context.Context) {
	user, made := t.create(ctx, "name-length", modalapi.NewServiceUser{
		Name: t.prefix + strings.Repeat("x", 63-len(t.prefix)), Scoped: true,
	})
	if !made {
		t.skip("the service user could not be created", "delete-service-users-token")
		return
	}
	t.find("name-length", true, "63 characters were accepted")
	until(ctx, patience, func() bool { return t.accepted(ctx, user.Token) })
	err := t.client.DeleteToken(ctx, t.own, user.Token.ID)
	_, after := t.client.WhoAmI(ctx, user.Token)
	t.learn("delete-service-users-token", "the answer was %s, and after that the token got %s", answer(err), answer(after))
}

func (t *trial) longLife(ctx context.Context) {
	made, err := t.mint(ctx, modalapi.NewServiceUser{
		Name: t.prefix + "long", Scoped: true, ExpiresIn: tenYears,
	})
	if err != nil {
		t.learn("longest-life", "a request for ten years got %s", answer(err))
		return
	}
	t.learn("longest-life", "a request for ten years got %d days", int(time.Until(made.ExpiresAt).Hours()/24+0.5))
}

// expiry waits until a token expires.
func (t *trial) expiry(ctx context.Context) {
	const name = "short"
	user, made := t.create(ctx, "refused-expired", modalapi.NewServiceUser{Name: t.prefix + name, Scoped: true, ExpiresIn: t.life})
	if !made {
		t.skip("the service user could not be created", "expiry-told", "expiry-deletes")
		return
	}
	if user.ExpiresAt.IsZero() || time.Until(user.ExpiresAt) > t.life+patience {
		t.skip("a request for "+t.life.String()+" got a lifetime that is too long to wait for", "refused-expired", "expiry-told", "expiry-deletes")
		return
	}
	until(ctx, patience, func() bool { return t.accepted(ctx, user.Token) })
	who, err := t.client.WhoAmI(ctx, user.Token)
	agreed := err == nil && who.ExpiresAt.Sub(user.ExpiresAt).Abs() < time.Second
	t.say("  waiting for %s until a token expires", time.Until(user.ExpiresAt).Round(time.Second))
	until(ctx, time.Until(user.ExpiresAt), func() bool { return false })
	early, _ := t.client.WhoAmI(ctx, user.Token)
	_, met := until(ctx, patience, func() bool { return t.refused(ctx, user.Token) })
	late := time.Since(user.ExpiresAt)
	_, err = t.client.WhoAmI(ctx, user.Token)
	t.find("refused-expired", met, "%s after its end the answer was %s", late.Round(time.Second), answer(err))
	t.find("expiry-told", met && agreed, "TokenInfoGet reported the same: %t; accepted at its end: %t; rejected %s after it",
		agreed, early.TokenID != "", late.Round(time.Second))
	_, err = t.client.ServiceUser(ctx, t.own, t.prefix+name)
	t.find("expiry-deletes", modalapi.KindOf(err) == modalapi.KindNotFound, "%s after its end ServiceUserInfo answered %s",
		late.Round(time.Second), answer(err))
}

// deletion deletes the service user whose token has worked until now.
func (t *trial) deletion(ctx context.Context, user modalapi.MintedServiceUser) {
	const often = 20
	good := 0
	for range often {
		if t.accepted(ctx, user.Token) {
			good++
		}
	}
	if err := t.client.DeleteServiceUser(ctx, t.own, user.ID); err != nil {
		t.find("deleted-with-user", false, "ServiceUserDelete answered %s", answer(err))
		t.skip("the service user could not be deleted", "refused-deleted", "deleted-at-once", "refused-lasting")
		return
	}
	_, at := t.client.WhoAmI(ctx, user.Token)
	took, met := until(ctx, patience, func() bool { return t.refused(ctx, user.Token) })
	_, last := t.client.WhoAmI(ctx, user.Token)
	t.find("refused-deleted", met, "the answer was %s", answer(last))
	t.find("deleted-with-user", met, "rejected after %s", took.Round(time.Millisecond))
	t.find("deleted-at-once", modalapi.KindOf(at) == modalapi.KindRefused, "the next call got %s", answer(at))
	bad := 0
	for range often {
		if t.refused(ctx, user.Token) {
			bad++
		}
	}
	t.find("refused-lasting", good == often && bad == often,
		"%[2]d of %[1]d calls were accepted before the deletion, and %[3]d of %[1]d rejected after it", often, good, bad)
}
