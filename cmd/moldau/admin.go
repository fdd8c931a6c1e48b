package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// adminFlag is the admin address of a broker, which some commands ask by HTTP for what the protocol has no words for.
type adminFlag struct {
	address string
	given   bool // named by the user, so that it is an error if nobody answers there
}

// addAdminFlag gives cmd its --admin.
func addAdminFlag(w world, cmd *cobra.Command) *adminFlag {
	a := &adminFlag{address: defaultAdminListen}
	for _, kv := range w.environ {
		if v, ok := strings.CutPrefix(kv, "MOLDAU_ADMIN="); ok && v != "" {
			a.address, a.given = v, true
		}
	}
	cmd.Flags().StringVar(&a.address, "admin", a.address,
		"the broker's admin address, its --admin-listen; MOLDAU_ADMIN sets another default")
	return a
}

// named notes whether the user named the address.
func (a *adminFlag) named(cmd *cobra.Command) { a.given = a.given || cmd.Flags().Changed("admin") }

// get asks for path and reads the answer, which is JSON, into v. status is that of HTTP, 0 if there is no answer.
func (a *adminFlag) get(ctx context.Context, path string, query url.Values, v any) (status int, err error) {
	u := url.URL{Scheme: "http", Host: strings.TrimPrefix(a.address, "http://"), Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, usageErrorf("--admin: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%w; is a broker running there, with an admin listener? --admin names its --admin-listen", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode >= 300 {
		return resp.StatusCode, fmt.Errorf("%s: %s", u.String(), strings.TrimSpace(string(body)))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return resp.StatusCode, fmt.Errorf("%s does not answer as a broker does: %w", u.String(), err)
	}
	return resp.StatusCode, nil
}
