package egisso

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

// FaultCode says what keeps a topic from being read, or a part of it. The list is closed: it is a label of metrics.
type FaultCode string

// Faults of reading a topic.
const (
	FaultBroker       FaultCode = "broker_away"
	FaultLogin        FaultCode = "login_refused"
	FaultCertificate  FaultCode = "certificate"
	FaultTopicMissing FaultCode = "topic_missing"
	FaultTopicDenied  FaultCode = "topic_denied"
	FaultGroupDenied  FaultCode = "group_denied"
	FaultUnreadable   FaultCode = "broker_error"
	FaultLost         FaultCode = "messages_lost"
	FaultDatabase     FaultCode = "database_away"
	FaultStore        FaultCode = "not_stored"
	FaultRejected     FaultCode = "rejected_topic"
	FaultTransactions FaultCode = "producer_transactions"
	FaultSilent       FaultCode = "reader_silent"
)

// words are what people are told of a fault, and what to do.
var words = map[FaultCode]struct{ what, do string }{
	FaultBroker:       {"брокер Kafka не отвечает", "проверьте сеть и брокер (kafka.brokers); чтение продолжится само"},
	FaultLogin:        {"брокер Kafka отверг имя или пароль", "проверьте kafka.sasl у владельца брокера; чтение продолжится само"},
	FaultCertificate:  {"сертификат брокера Kafka не принят", "проверьте kafka.tls: ca, server_name, срок сертификата"},
	FaultTopicMissing: {"такой темы нет", "попросите владельца брокера создать тему или исправьте источник в справочнике"},
	FaultTopicDenied:  {"нет права читать тему", "попросите владельца брокера дать учётной записи ЕКЦ права Read и Describe на тему"},
	FaultGroupDenied:  {"нет права на группу чтения", "попросите владельца брокера дать учётной записи ЕКЦ право Read на группы с началом kafka.group"},
	FaultUnreadable:   {"брокер Kafka отвечает ошибкой", "причина – в журнале процесса с ролью feed; чтение продолжится само"},
	FaultLost:         {"сообщения удалены из темы раньше, чем прочитаны", "сверьте с отправителем, какие списки пришли, и попросите повторить остальные; увеличьте срок хранения темы"},
	FaultDatabase:     {"прочитанное не сохраняется: база данных не отвечает", "проверьте PostgreSQL; чтение продолжится само"},
	FaultStore:        {"прочитанное не сохраняется из-за ошибки", "причина – в журнале процесса с ролью feed; смещение не сдвигается, ничего не потеряно"},
	FaultRejected:     {"непринятые сообщения не уходят в тему .rejected", "проверьте, что тема есть и ЕКЦ может в неё писать; сообщения хранятся в базе и уйдут сами"},
	FaultTransactions: {"отправитель пишет в транзакциях, договор это запрещает: чтение источника остановлено, принятое ждёт",
		"отправитель должен убрать transactional.id у производителя; затем возобновите чтение источника"},
	FaultSilent: {"процесс, который читал тему, молчит", "работает ли процесс с ролью feed: systemctl status ekc, журнал процесса"},
}

// What says in Russian what is wrong, Do what to do.
func (c FaultCode) What() string { return words[c].what }
func (c FaultCode) Do() string   { return words[c].do }

// faultOf sorts what a broker, or the way to it, says.
func faultOf(err error) FaultCode {
	var (
		unknownCA x509.UnknownAuthorityError
		badHost   x509.HostnameError
		invalid   x509.CertificateInvalidError
		alert     tls.AlertError
		record    tls.RecordHeaderError
		code      kafka.Error
		lookup    *fetch.Error
	)
	switch {
	case errors.As(err, &unknownCA), errors.As(err, &badHost), errors.As(err, &invalid), errors.As(err, &alert), errors.As(err, &record):
		return FaultCertificate
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition):
		return FaultTopicMissing
	case errors.As(err, &lookup): // the leader of the partition is not known now
		return FaultBroker
	case errors.As(err, &code):
		switch code {
		case kafka.SASLAuthenticationFailed, kafka.UnsupportedSASLMechanism, kafka.IllegalSASLState:
			return FaultLogin
		case kafka.UnknownTopicOrPartition:
			return FaultTopicMissing
		case kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed:
			return FaultTopicDenied
		case kafka.GroupAuthorizationFailed:
			return FaultGroupDenied
		}
		if code.Temporary() {
			return FaultBroker
		}
		return FaultUnreadable
	}
	if errors.Is(err, context.DeadlineExceeded) || isNetwork(err) {
		return FaultBroker
	}
	return FaultUnreadable
}

// stopError ends the reading of a source until a person resumes it.
type stopError struct {
	topic     string
	partition int
	offset    int64
}

func (e *stopError) Error() string {
	return fmt.Sprintf("a transactional record in %s[%d] at offset %d: producers of the feed must not use transactions", e.topic, e.partition, e.offset)
}
