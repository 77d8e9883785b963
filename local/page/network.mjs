// A phone's network, which can be switched off: the client meets what it meets on a phone without a signal.

export class Network {
  isOn = true;
  #sockets = new Set();
  #wake = () => {};

  /** What the client asks of the world around it. */
  world = {
    open: (url, protocols) => {
      if (!this.isOn) throw new Error("no network");
      const socket = new WebSocket(url, protocols);
      this.#sockets.add(socket);
      socket.addEventListener("close", () => this.#sockets.delete(socket));
      return socket;
    },
    isOnline: () => this.isOn, // whatever the machine's own network is: the stack may be on this machine
    listen: (wake) => {
      this.#wake = wake;
      const heard = ({ type }) => {
        if (this.isOn && (type !== "visibilitychange" || document.visibilityState === "visible")) wake(type);
      };
      const targets = [[window, "online"], [window, "offline"], [window, "pageshow"], [document, "visibilitychange"]];
      targets.forEach(([target, name]) => target.addEventListener(name, heard));
      return () => targets.forEach(([target, name]) => target.removeEventListener(name, heard));
    },
  };

  /** The signal is lost: the client learns of it as of any broken connection. */
  off() {
    this.isOn = false;
    for (const socket of this.#sockets) {
      const lost = socket.onclose;
      socket.close();
      lost?.({ code: 1006 });
    }
    this.#sockets.clear();
  }

  on() {
    this.isOn = true;
    this.#wake("online");
  }
}
