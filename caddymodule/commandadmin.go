package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// adminClient asks the admin API of a Caddy that is running, which it finds as Caddy's own commands do.
type adminClient struct {
	command                  string
	address, config, adapter string
}

func newAdminClient(cmd *cobra.Command) *adminClient {
	c := &adminClient{command: "esmtp " + cmd.Name()}
	cmd.Flags().StringVar(&c.address, "address", "", "The address of Caddy's administration API")
	cmd.Flags().StringVarP(&c.config, "config", "c", "", "A configuration file that says which address that is")
	cmd.Flags().StringVarP(&c.adapter, "adapter", "a", "", "The config adapter for that file")
	return c
}

// do sends a request without a body. The caller closes that of the answer.
func (c *adminClient) do(method, path string, query url.Values) (io.ReadCloser, error) {
	return c.send(method, path, query, nil)
}

func (c *adminClient) send(method, path string, query url.Values, body io.Reader) (io.ReadCloser, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
	if err != nil {
		return nil, fmt.Errorf("%s: the address of Caddy's administration API: %w", c.command, err)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, path, nil, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.command, plainError(err, address))
	}
	return resp.Body, nil
}

// errNotThere is the error of a Caddy that doesn't answer.
var errNotThere = errors.New("is it running? --address or --config say where it is")

// plainError makes readable what caddycmd.AdminAPIRequest returns, which has only a text.
func plainError(err error, address string) error {
	text := err.Error()
	if strings.HasPrefix(text, "performing request: ") {
		return fmt.Errorf("no answer from Caddy at %s: %w (%s)", address, errNotThere, strings.TrimPrefix(text, "performing request: "))
	}
	_, body, ok := strings.Cut(text, "caddy responded with error: HTTP ")
	if !ok {
		return err
	}
	status, body, _ := strings.Cut(body, ": ")
	var answer struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(body), &answer) == nil && answer.Error != "" {
		return errors.New(strings.TrimPrefix(answer.Error, "esmtp: "))
	}
	return fmt.Errorf("answer of Caddy: %s: %s", status, strings.TrimSpace(body))
}

// get asks for a value in JSON.
func (c *adminClient) get(method, path string, query url.Values, value any) error {
	body, err := c.do(method, path, query)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(value); err != nil {
		return fmt.Errorf("%s: reading Caddy's answer: %w", c.command, err)
	}
	return nil
}

// filterFlags adds a flag for each parameter of a filter, and returns what makes a query of those that were given.
func filterFlags(cmd *cobra.Command, names ...string) func() url.Values {
	usage := map[string]string{
		"server":  "Of this server, by its name in the config",
		"route":   "Of this route, by its name; '' for sessions that have none",
		"remote":  "Of clients at this address or in this network",
		"user":    "Of who is logged in under this name; '' for nobody",
		"state":   "That are busy, waiting or data",
		"helo":    "Of clients that gave this name",
		"older":   "That are older than this, such as 10m",
		"session": "Of this session",
		"type":    "Of these types, with commas between: " + strings.Join(eventTypes, ", "),
	}
	for _, name := range names {
		cmd.Flags().String(name, "", usage[name])
	}
	return func() url.Values {
		query := make(url.Values)
		for _, name := range names {
			if f := cmd.Flags().Lookup(name); f.Changed {
				query.Set(name, f.Value.String())
			}
		}
		return query
	}
}

// shown is text for a terminal: what a client sent may hold what moves the cursor.
func shown(text string) string {
	if text == "" {
		return "-"
	}
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, text)
}
