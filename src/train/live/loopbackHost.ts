/**
 * Whether a request names this machine by a loopback name. A page of another site whose name is led to 127.0.0.1 (DNS
 * rebinding) is of one origin with whatever is served there, and gives itself away by its name only.
 */
export function isLoopbackHost(host: string | undefined): boolean {
  return host !== undefined && /^(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?$/i.test(host);
}
