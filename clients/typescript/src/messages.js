/**
 * The frames that the service sends and receives: `switch (message.type)` narrows `message.data`.
 *
 * Written by `python -m tools.contract`: do not edit.
 */

/**
 * Of a user or a call: a whole number, or 1 to 128 characters without a space, `/` or control character.
 *
 * @typedef {number | string} Id
 */

/**
 * 1 to 256 characters without control characters.
 *
 * @typedef {string} Name
 */

/**
 * Names an event: the same event has the same id if it comes again. Ids sort by time, as text.
 *
 * @typedef {string} EventId
 */

/**
 * RFC 3339, in UTC.
 *
 * @typedef {string} Timestamp
 */

/**
 * How far a client is, for `resume`: merge it into what you remember. Its texts are not for reading.
 *
 * @typedef {Record<string, string>} Position
 */

/**
 * Why the service refuses.
 *
 * @typedef {"AUTH_FAILED" | "BAD_REQUEST" | "CONNECTION_LIMIT" | "INTERNAL" | "PERMISSION_DENIED" | "RATE_LIMITED"} ErrorCode
 */

/**
 * What a user sets themselves to.
 *
 * @typedef {"away" | "busy" | "online"} Status
 */

/**
 * A listener's first connection came.
 *
 * @typedef {{ type: "listener_online", data: ListenerState, timestamp: Timestamp, id: EventId, version: number, position?: Position, ack?: undefined }} ListenerOnline
 */

/**
 * The presence of a user as feed shows it: who is no listener is offline there.
 *
 * @typedef {object} ListenerState
 * @property {Id} user_id
 * @property {boolean} is_online
 * @property {boolean} is_busy
 * @property {Timestamp | null} last_seen When a connection last came or ended; null: never.
 * @property {true} [is_away] They set themselves to away; they are busy, too. Absent otherwise.
 * @property {string | null} username From the newest token that had a username; null: none had.
 */

/**
 * A listener's last connection ended, and none came back within the grace period.
 *
 * @typedef {{ type: "listener_offline", data: ListenerState, timestamp: Timestamp, id: EventId, version: number, position?: Position, ack?: undefined }} ListenerOffline
 */

/**
 * A listener's call began, or they set themselves to busy.
 *
 * @typedef {{ type: "listener_busy", data: ListenerState, timestamp: Timestamp, id: EventId, version: number, position?: Position, ack?: undefined }} ListenerBusy
 */

/**
 * A listener's last call ended, or they set themselves to available.
 *
 * @typedef {{ type: "listener_available", data: ListenerState, timestamp: Timestamp, id: EventId, version: number, position?: Position, ack?: undefined }} ListenerAvailable
 */

/**
 * A user came online or went offline, or shows their presence to you again.
 *
 * @typedef {{ type: "presence_update", data: UserState, timestamp: Timestamp, id: EventId, version: number, position?: Position, ack?: undefined }} PresenceUpdate
 */

/**
 * The presence of a user.
 *
 * @typedef {object} UserState
 * @property {Id} user_id
 * @property {boolean} is_online
 * @property {boolean} is_busy
 * @property {Timestamp | null} last_seen When a connection last came or ended; null: never.
 * @property {true} [is_away] They set themselves to away; they are busy, too. Absent otherwise.
 */

/**
 * A user became busy or available.
 *
 * @typedef {{ type: "status_change", data: UserState, timestamp: Timestamp, id: EventId, version: number, position?: Position, ack?: undefined }} StatusChanged
 */

/**
 * A call began; sent to both participants.
 *
 * @typedef {{ type: "call_started", data: StartedCall, timestamp: Timestamp, id: EventId, ack?: true, position?: Position, version?: undefined }} CallStarted
 */

/**
 * A call, as `call_started` reports it; its other keys are passed on.
 *
 * @typedef {{ call_id: Id, user_id: Id, listener_id: Id, call_type: Name, status: Name, [key: string]: unknown }} StartedCall
 */

/**
 * A call ended; sent to both participants.
 *
 * @typedef {{ type: "call_ended", data: Call, timestamp: Timestamp, id: EventId, ack?: true, position?: Position, version?: undefined }} CallEnded
 */

/**
 * A call, as `call_ended` and `call_billing` report it; their other keys are passed on.
 *
 * @typedef {{ call_id: Id, user_id: Id, listener_id: Id, [key: string]: unknown }} Call
 */

/**
 * A call was billed; sent to both participants.
 *
 * @typedef {{ type: "call_billing", data: Call, timestamp: Timestamp, id: EventId, ack?: true, position?: Position, version?: undefined }} CallBilling
 */

/**
 * Somebody added you to their favourites.
 *
 * @typedef {{ type: "favorite_added", data: Deed, timestamp: Timestamp, id: EventId, ack?: true, position?: Position, version?: undefined }} FavoriteAdded
 */

/**
 * What `user_id` did to you.
 *
 * @typedef {{ user_id: Id, username: Name, action: Name | null, [key: string]: unknown }} Deed
 */

/**
 * Somebody removed you from their favourites.
 *
 * @typedef {{ type: "favorite_removed", data: Deed, timestamp: Timestamp, id: EventId, ack?: true, position?: Position, version?: undefined }} FavoriteRemoved
 */

/**
 * Somebody blocked you: you receive nothing about their presence from now on.
 *
 * @typedef {{ type: "user_blocked", data: Deed, timestamp: Timestamp, id: EventId, ack?: true, position?: Position, version?: undefined }} UserBlocked
 */

/**
 * Somebody blocks you no more.
 *
 * @typedef {{ type: "user_unblocked", data: Deed, timestamp: Timestamp, id: EventId, ack?: true, position?: Position, version?: undefined }} UserUnblocked
 */

/**
 * Whatever a backend tells some users, or everyone.
 *
 * @typedef {{ type: "system_notification", data: SystemNotification, timestamp: Timestamp, id: EventId, ack?: true, position?: Position, version?: undefined }} SystemNotified
 */

/**
 * Whatever a `system_notification` says: all its keys are passed on.
 *
 * @typedef {{ [key: string]: unknown }} SystemNotification
 */

/**
 * The presence of users as it is now: the answer to `sync`, `watch` and `unwatch`.
 *
 * @typedef {{ type: "snapshot", data: SnapshotData, timestamp: Timestamp, position?: Position, id?: undefined, version?: undefined, ack?: undefined }} Snapshot
 */

/**
 * Users as they are now.
 *
 * @typedef {object} SnapshotData
 * @property {User[]} users
 * @property {boolean} complete Whether this is the last frame of the answer.
 */

/**
 * A user in a snapshot.
 *
 * @typedef {object} User
 * @property {Id} user_id
 * @property {boolean} is_online
 * @property {boolean} is_busy
 * @property {Timestamp | null} last_seen When a connection last came or ended; null: never.
 * @property {true} [is_away] They set themselves to away; they are busy, too. Absent otherwise.
 * @property {string | null} username
 * @property {number} version Of two states of a user, the one with the higher version is right.
 */

/**
 * Presence since a time could not be sent to you: send `sync`, not more than once a minute because of this.
 *
 * @typedef {{ type: "stale", data: StaleData, timestamp: Timestamp, id?: undefined, version?: undefined, ack?: undefined, position?: undefined }} Stale
 */

/**
 * Since when presence may be wrong.
 *
 * @typedef {object} StaleData
 * @property {Timestamp} since
 */

/**
 * The answer to `count`: one count serves all who ask within some seconds.
 *
 * @typedef {{ type: "occupancy", data: OccupancyData, timestamp: Timestamp, position?: Position, id?: undefined, version?: undefined, ack?: undefined }} Occupancy
 */

/**
 * How many listeners are online.
 *
 * @typedef {object} OccupancyData
 * @property {number} listeners_online
 * @property {number} listeners_busy How many of them are busy.
 * @property {Timestamp} counted_at
 * @property {number} refresh_after Seconds in which the answer stays the same: the larger the count, the longer.
 */

/**
 * The answer to `history`: calls and notifications, also to everyone, that you may have seen before.
 *
 * @typedef {{ type: "history_page", data: HistoryPageData, timestamp: Timestamp, position?: Position, id?: undefined, version?: undefined, ack?: undefined }} HistoryPage
 */

/**
 * A page of your history.
 *
 * @typedef {object} HistoryPageData
 * @property {Message[]} messages As you received them, or would have.
 * @property {EventId[]} left_out Messages that are too large for a page.
 * @property {EventId | null} next There may be more: ask again with it in place of `before` or `after`.
 */

/**
 * The answer to `ping`.
 *
 * @typedef {{ type: "pong", data: Record<string, unknown>, timestamp: Timestamp, position?: Position, id?: undefined, version?: undefined, ack?: undefined }} Pong
 */

/**
 * The end of the answer to `resume`: the messages that you missed came before.
 *
 * @typedef {{ type: "resumed", data: ResumedData, timestamp: Timestamp, position?: Position, id?: undefined, version?: undefined, ack?: undefined }} Resumed
 */

/**
 * What became of a `resume`.
 *
 * @typedef {object} ResumedData
 * @property {boolean} recovered Whether nothing is missing. If not, load your data again, or `sync`.
 * @property {number} replayed How many messages came.
 * @property {boolean} [complete] `false`: send `resume` again at once. Absent in the answer to a `last_id`.
 */

/**
 * The answer to `ack`.
 *
 * @typedef {{ type: "acknowledged", data: AcknowledgedData, timestamp: Timestamp, id?: undefined, version?: undefined, ack?: undefined, position?: undefined }} Acknowledged
 */

/**
 * Which message is acknowledged.
 *
 * @typedef {object} AcknowledgedData
 * @property {EventId} id
 */

/**
 * The answer to `authenticate`: the newer token counts from now on.
 *
 * @typedef {{ type: "authenticated", data: AuthenticatedData, timestamp: Timestamp, position?: Position, id?: undefined, version?: undefined, ack?: undefined }} Authenticated
 */

/**
 * How long the connection may stay.
 *
 * @typedef {object} AuthenticatedData
 * @property {Timestamp} expires_at When the token expires.
 */

/**
 * The answer to `status`. Those who see your presence are told, if it is another than before.
 *
 * @typedef {{ type: "status_set", data: StatusSetData, timestamp: Timestamp, position?: Position, id?: undefined, version?: undefined, ack?: undefined }} StatusSet
 */

/**
 * The status that you have now, beside your calls.
 *
 * @typedef {object} StatusSetData
 * @property {Status} status
 */

/**
 * Open a new connection at a random moment within this time, `resume` there, then close this one.
 *
 * @typedef {{ type: "reconnect", data: ReconnectData, timestamp: Timestamp, id?: undefined, version?: undefined, ack?: undefined, position?: undefined }} Reconnect
 */

/**
 * How soon to move.
 *
 * @typedef {object} ReconnectData
 * @property {number} within_seconds 0: this connection is closed; open another at once.
 */

/**
 * What you sent is refused, or the service failed; where the connection may not stay, it is closed afterwards.
 *
 * @typedef {{ type: "error", data: ErrorData, timestamp: Timestamp, id?: undefined, version?: undefined, ack?: undefined, position?: undefined }} Error
 */

/**
 * What is wrong.
 *
 * @typedef {object} ErrorData
 * @property {ErrorCode} code
 * @property {string} message For people; it may change.
 * @property {number} [retry_after] Seconds after which to try again.
 */

/**
 * API Gateway's own frame, without a `type`: too many messages for the endpoint, or a function that failed.
 *
 * @typedef {object} GatewayError
 * @property {string} message Such as `Too Many Requests` or `Internal server error`.
 * @property {string} [connectionId]
 * @property {string} [requestId]
 */

/**
 * Ask for a sign of life. Send it when you have received nothing for four minutes.
 *
 * @typedef {{ type: "ping", data?: Record<string, unknown>, timestamp?: unknown }} Ping
 */

/**
 * Ask for the messages that you missed.
 *
 * @typedef {{ type: "resume", data: ResumeData, timestamp?: unknown }} Resume
 */

/**
 * Where you are: `position`, or `last_id` in clients that know no positions. With both, `position` counts.
 *
 * @typedef {object} ResumeData
 * @property {Record<string, string>} [position] All that you merged.
 * @property {EventId} [last_id] The highest `id` that you received.
 */

/**
 * Acknowledge a message that has `ack: true`, once your application has it.
 *
 * @typedef {{ type: "ack", data: AckData, timestamp?: unknown }} Ack
 */

/**
 * Which message you have.
 *
 * @typedef {object} AckData
 * @property {EventId} id
 */

/**
 * Keep the connection open until a newer token expires.
 *
 * @typedef {{ type: "authenticate", data: AuthenticateData, timestamp?: unknown }} Authenticate
 */

/**
 * A newer token.
 *
 * @typedef {object} AuthenticateData
 * @property {string} token Of the same user, good for the same endpoints.
 */

/**
 * Set your own status. The token's `scope` must have the word `status`.
 *
 * @typedef {{ type: "status", data: StatusData, timestamp?: unknown }} SetStatus
 */

/**
 * Your own status, beside your calls.
 *
 * @typedef {object} StatusData
 * @property {Status} status `away`: others see you busy, and away.
 */

/**
 * Ask for everyone online, or for the users that you watch.
 *
 * @typedef {{ type: "sync", data?: Record<string, unknown>, timestamp?: unknown }} Sync
 */

/**
 * From now on, receive presence of these users alone, added to those that you watch.
 *
 * @typedef {{ type: "watch", data: WatchData, timestamp?: unknown }} Watch
 */

/**
 * Whom to watch.
 *
 * @typedef {object} WatchData
 * @property {Id[]} user_ids The users that you mean.
 */

/**
 * Receive no more presence of these users.
 *
 * @typedef {{ type: "unwatch", data: WatchData, timestamp?: unknown }} Unwatch
 */

/**
 * Ask how many listeners are online.
 *
 * @typedef {{ type: "count", data?: Record<string, unknown>, timestamp?: unknown }} Count
 */

/**
 * Ask for a page of your calls and notifications, as far back as they are kept.
 *
 * @typedef {{ type: "history", data?: HistoryData, timestamp?: unknown }} History
 */

/**
 * Which page: the newest first; with `after` alone the oldest first.
 *
 * @typedef {object} HistoryData
 * @property {EventId} [before] Messages before this one.
 * @property {EventId} [after] Messages after this one.
 * @property {number} [limit] How many at most; 50 if absent.
 */

/**
 * A message that a client receives. Ignore types and keys that you do not know.
 *
 * @typedef {ListenerOnline | ListenerOffline | ListenerBusy | ListenerAvailable | PresenceUpdate | StatusChanged | CallStarted | CallEnded | CallBilling | FavoriteAdded | FavoriteRemoved | UserBlocked | UserUnblocked | SystemNotified | Snapshot | Stale | Occupancy | HistoryPage | Pong | Resumed | Acknowledged | Authenticated | StatusSet | Reconnect | Error} Message
 */

/**
 * What a client finds in a text frame: a message; an array of them with `batch=true` and after `resume`; or an error of API Gateway's own.
 *
 * @typedef {Message | Message[] | GatewayError} ServerFrame
 */

/**
 * What a client sends in a text frame of at most 32 KB.
 *
 * @typedef {Ping | Resume | Ack | Authenticate | SetStatus | Sync | Watch | Unwatch | Count | History} ClientFrame
 */

export {};
