package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"ekc/openapi"
)

// apiClient speaks to the HTTP door as any other client does.
type apiClient struct {
	base string // http://host:port
	key  string
	http *http.Client
}

// clientFromEnv goes to EKC_URL with EKC_KEY.
func clientFromEnv() (*apiClient, error) {
	base := strings.TrimSuffix(os.Getenv("EKC_URL"), "/")
	if u, err := url.Parse(base); err != nil || u.Host == "" {
		return nil, &exitError{exitUsage, errors.New("EKC_URL must say where the API is, such as http://127.0.0.1:8080, and EKC_KEY hold your key")}
	}
	return &apiClient{base: base, key: os.Getenv("EKC_KEY"), http: &http.Client{Timeout: 30 * time.Second}}, nil
}

// apiError is a refusal of the API.
type apiError struct {
	openapi.Problem
	RetryAfter string
}

func (e *apiError) Error() string {
	text := cmp.Or(e.Detail, e.Title, http.StatusText(e.Status))
	for _, f := range e.Errors {
		text += fmt.Sprintf("\n  %s: %s", f.Location, f.Detail)
	}
	return fmt.Sprintf("%s (%d %s)", text, e.Status, e.Code)
}

// unreachable says that the API did not answer at all, or could not.
func unreachable(err error) bool {
	var refusal *apiError
	if errors.As(err, &refusal) {
		return refusal.Status >= http.StatusInternalServerError
	}
	var transport *url.Error
	return errors.As(err, &transport)
}

// call sends in (nil: nothing) as JSON and reads the answer into out (nil: not read).
func (c *apiClient) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	return c.send(ctx, method, path, "application/json", body, out)
}

func (c *apiClient) send(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept-Language", "ru")
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest && !strings.HasPrefix(path, "/readyz") {
		refusal := &apiError{RetryAfter: resp.Header.Get("Retry-After")}
		if json.Unmarshal(data, &refusal.Problem) != nil || refusal.Status == 0 {
			refusal.Status = resp.StatusCode
		}
		return refusal
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read answer of %s: %w", path, err)
	}
	return nil
}
