// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

const (
	// flowWait is the wait of one call. The person has five minutes.
	flowWait  = 20 * time.Second
	flowLimit = 5 * time.Minute
	tokenLife = time.Hour
)

// members lets a person approve a token, which then deletes itself.
func (t *trial) members(ctx context.Context) {
	flow, err := t.client.BeginTokenFlow(ctx, tokenLife)
	if err != nil {
		t.find("flow-anonymous", false, "TokenFlowCreate answered %s", answer(err))
		t.skip("the token flow could not be started", "ends-itself", "gone-not-found", "flow-denied")
		return
	}
	t.say("Approve a token in this workspace, within %s: %s (code %s)", flowLimit, flow.URL, flow.Code)
	var approved *modalapi.ApprovedToken
	until(ctx, flowLimit, func() bool {
		approved, err = t.client.AwaitTokenFlow(ctx, flow, flowWait)
		return err != nil || approved != nil
	})
	switch {
	case err != nil:
		t.find("flow-anonymous", false, "TokenFlowWait answered %s", answer(err))
	case approved == nil:
		t.skip("nobody approved the token", "flow-anonymous")
	}
	if approved == nil {
		t.skip("there was no token", "ends-itself", "gone-not-found", "flow-denied")
		return
	}
	token := approved.Token
	t.approved = append(t.approved, token)
	t.find("flow-anonymous", true, "the flow returned a token")
	t.over(ctx, flow)
	until(ctx, patience, func() bool { return t.accepted(ctx, token) })
	err = t.client.DeleteToken(ctx, token, token.ID)
	took, met := until(ctx, patience, func() bool { return t.refused(ctx, token) })
	t.find("ends-itself", err == nil && met, "TokenDelete answered %s, rejected: %t after %s", answer(err), met, took.Round(time.Millisecond))
	if met {
		t.approved = slices.DeleteFunc(t.approved, func(other modalapi.Token) bool { return other == token })
	}
	err = t.client.DeleteToken(ctx, t.own, token.ID)
	t.find("gone-not-found", modalapi.KindOf(err) == modalapi.KindNotFound, "the answer was %s", answer(err))
}

// over polls a flow again that has returned its token. It does not try a denial, which would need a second page.
func (t *trial) over(ctx context.Context, flow modalapi.TokenFlow) {
	again, err := t.client.AwaitTokenFlow(ctx, flow, time.Second)
	saw := answer(err)
	switch {
	case again != nil:
		t.approved = append(t.approved, again.Token)
		saw = "a token again"
	case err == nil:
		saw = "to keep waiting"
	}
	t.learn("flow-denied", "after the flow's end the answer was %s; a denial was not tried", saw)
}
