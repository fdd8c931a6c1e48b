package console

import (
	"net/http"
	"strconv"

	"moldau.io/moldau/protocol"
)

// drain has a broker of the cluster emptied, or ends that.
func drain(v View, w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 32)
	if err != nil || id < 0 {
		answer(w, http.StatusNotFound, strconv.Quote(r.PathValue("id"))+" is no broker's id")
		return
	}
	if err := v.Ready(); err != nil {
		answer(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	err = v.Drain(r.Context(), int32(id), r.Method == http.MethodPost)
	switch protocol.CodeOf(err) {
	case protocol.None:
		answerJSON(w, http.StatusOK, v.ClusterStatus())
	case protocol.BrokerIDNotRegistered:
		answer(w, http.StatusNotFound, err.Error())
	case protocol.RequestTimedOut:
		answer(w, http.StatusGatewayTimeout, "the cluster has not agreed in time; is a majority of its voters alive?")
	default:
		answer(w, http.StatusConflict, err.Error())
	}
}
