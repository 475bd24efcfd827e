<%@ page session="false" contentType="text/plain; charset=ISO-8859-1" pageEncoding="UTF-8"
         trimDirectiveWhitespaces="true"
         import="java.nio.charset.StandardCharsets, java.util.*, java.util.concurrent.*, java.util.concurrent.atomic.*" %>
<%-- A node that counts how often something was reached that no client of a worker may reach.

     The page stands at every context of the node. At a management context (/carbon, /publisher, ...) each request
     counts. At /t, /services and the root a request counts if a lenient reader, such as Carbon or Axis2, would find
     management or an admin service in it. What does not count is answered with the raw address as it was received.

     A request with the header X-Boundary does not count: "tell" is answered with the counts, "reset" clears them. --%>
<%!
    /** Of the whole server: each context has its own copy of this class, so its static fields would not do. */
    @SuppressWarnings("unchecked")
    static <T> T shared(String name, T fresh) {
        Object there = System.getProperties().putIfAbsent("elb.boundary." + name, fresh);
        return there == null ? fresh : (T) there;
    }

    static final Map<String, AtomicLong> REACHED = shared("reached", new ConcurrentHashMap<>());
    /** The first few raw addresses, with what they reached. */
    static final Queue<String> FIRST = shared("first", new ConcurrentLinkedQueue<>());
    static final int REMEMBERED = 20;

    static final Set<String> MANAGEMENT = lowerCased("elb.boundary.management");
    static final Set<String> ADMIN_SERVICES = lowerCased("elb.boundary.services");

    static Set<String> lowerCased(String property) {
        return new HashSet<>(Arrays.asList(System.getProperty(property).toLowerCase(Locale.ROOT).split(",")));
    }

    /** What the request reached; null if it is no more than an outside client may reach. */
    static String reached(String context, String path, String raw, String query) {
        if (MANAGEMENT.contains(context)) return context;
        if (context.equals("/t")) {
            String management = managementOf(path);
            if (management != null) return "/t" + management;
        }
        for (String address : new String[] { raw, raw + "?" + query, context + path, context + path + "?" + query }) {
            if (namesAdminService(address) || namesAdminService(address.toLowerCase(Locale.ROOT))) return "admin service";
        }
        return null;
    }

    /** The management prefix behind /TENANT, and behind any further /t/TENANT, in any case. */
    static String managementOf(String path) {
        String rest = path.toLowerCase(Locale.ROOT).replaceFirst("^/[^/]*", "").replaceFirst("^(/t/[^/]*)+", "");
        for (String prefix : MANAGEMENT) {
            if (rest.equals(prefix) || rest.startsWith(prefix + "/")) return prefix;
        }
        return null;
    }

    /** As Axis2 finds a service: behind the last "services" of the address, WSO2's behind the first. */
    static boolean namesAdminService(String address) {
        return namesAdminService(address, address.indexOf("services"))
            || namesAdminService(address, address.lastIndexOf("services"));
    }

    /** One character is skipped, and the name goes up to / or ?. */
    static boolean namesAdminService(String address, int at) {
        int begin = at + "services".length() + 1;
        if (at < 0 || begin >= address.length()) return false;
        String behind = address.substring(begin).toLowerCase(Locale.ROOT);
        // Carbon takes the tenant out of /services/t/TENANT/NAME.
        behind = behind.replaceFirst("^(t/[^/?]*/)+", "");
        String name = behind.split("[/?]", 2)[0];
        String service = name.split("\\.", 2)[0].replaceFirst("https?(soap1[12])?endpoint$", "");
        return ADMIN_SERVICES.contains(service);
    }

    static String quote(String text) {
        StringBuilder json = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\' || c < ' ' || c > '~') json.append(String.format("\\u%04x", (int) c));
            else json.append(c);
        }
        return json.append('"').toString();
    }

    static String tell() {
        StringJoiner counts = new StringJoiner(",", "{", "}");
        new TreeMap<>(REACHED).forEach((what, count) -> counts.add(quote(what) + ":" + count));
        StringJoiner first = new StringJoiner(",", "[", "]");
        FIRST.forEach(line -> first.add(quote(line)));
        return "{\"reached\":" + counts + ",\"first\":" + first + "}";
    }
%>
<%
    String raw = request.getRequestURI();
    String query = request.getQueryString();
    String address = query == null ? raw : raw + "?" + query;
    String asked = request.getHeader("X-Boundary");
    if (asked != null) {
        if (asked.equals("reset")) {
            REACHED.clear();
            FIRST.clear();
        }
        out.print(tell());
        return;
    }
    String path = request.getPathInfo();
    String reached = reached(application.getContextPath(), path == null ? "" : path, raw, query == null ? "" : query);
    if (reached == null) {
        out.print(address);
        return;
    }
    REACHED.computeIfAbsent(reached, what -> new AtomicLong()).incrementAndGet();
    if (FIRST.size() < REMEMBERED) FIRST.add(reached + ": " + address);
    out.print("reached " + reached);
%>
