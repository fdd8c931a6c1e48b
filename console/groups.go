package console

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"moldau.io/moldau/broker"
)

const (
	groupsOnPage  = 200    // that the page shows
	groupsDefault = 1000   // that /groups lists, unless limit says otherwise
	groupsMax     = 10_000 // that limit may be
)

// groups answers /groups with the groups coordinated here, in short; ?limit=N bounds how many. With ?group=NAME it answers
// with that group, for names that no path can hold.
func groups(v View, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Has("group") {
		group(v, w, q.Get("group"))
		return
	}
	limit := groupsDefault
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > groupsMax {
			answer(w, http.StatusBadRequest, "limit must be a number from 0 to "+strconv.Itoa(groupsMax))
			return
		}
		limit = n
	}
	if err := v.Ready(); err != nil {
		answer(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	answerJSON(w, http.StatusOK, v.GroupStatus(limit))
}

// group answers with all that is known of one.
func group(v View, w http.ResponseWriter, name string) {
	if err := v.Ready(); err != nil {
		answer(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	d, err := v.GroupDetail(name)
	switch {
	case err == nil:
		answerJSON(w, http.StatusOK, d)
	case errors.Is(err, broker.ErrGroupBusy):
		answer(w, http.StatusServiceUnavailable, err.Error())
	default:
		answer(w, http.StatusNotFound, err.Error())
	}
}

// spanText is a number of seconds for people; nothing for nil.
func spanText(seconds *float64) string {
	if seconds == nil {
		return ""
	}
	d := time.Duration(*seconds * float64(time.Second))
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
