//! Where the text of a prompt comes from, through what templates do with strings.

use serde_json::json;
use tabagent_chat::{ChatTemplate, Conversation, Message};

/// The parts of the prompt of one message: the template's in brackets.
fn parts(template: &str, content: &str) -> String {
    let template = ChatTemplate::new(template, "<s>", "</s>").expect("it is a template");
    let conversation = Conversation::new(vec![Message::user(content)]).with_adapt(false);
    let rendering = template.render_segments(&conversation).expect("it renders");
    let joined: String = rendering.segments().map(|part| part.text).collect();
    assert_eq!(joined, rendering.text());
    let shown = |part: tabagent_chat::Segment<'_>| {
        if part.parse_special { format!("[{}]", part.text) } else { part.text.to_owned() }
    };
    rendering.segments().map(shown).collect()
}

#[test]
fn every_operation_keeps_the_origin_of_each_part() {
    let cases = [
        ("{{ '<' ~ m ~ '>' }}", "[<]ab,c[>]"),
        ("{{ '<' + m + '>' }}", "[<]ab,c[>]"),
        ("{{ m[1:] ~ m[::-1] }}", "b,cc,ba"),
        ("{{ m | upper }}{{ m | title }}{{ m.capitalize() }}", "AB,CAb,cAb,c"),
        ("{{ m.split(',') | join('+') }}", "ab[+]c"),
        ("{{ '+'.join(m.split(',')) }}", "ab[+]c"),
        ("{{ m.replace('b', 'xy') }}", "a[xy],c"),
        ("{{ 'x'.replace('x', m) }}", "ab,c"),
        ("{{ '%s=%s' % ('k', m) }}", "[k=]ab,c"),
        ("{{ '{}={}'.format('k', m) }}", "[k=]ab,c"),
        ("{{ m | tojson }}", "[\"]ab,c[\"]"),
        ("{{ {'k': m} | tojson }}", "[{\"k\": \"]ab,c[\"}]"),
        ("{{ [m] }}", "[[']ab,c[']]"),
        ("{{ (' ' ~ m ~ ' ') | trim }}", "ab,c"),
        ("{{ (m ~ '\n' ~ m) | indent(2) }}", "ab,c[\n  ]ab,c"),
        ("{{ m.center(8, '*') }}", "[**]ab,c[**]"),
        ("{{ m * 2 }}", "ab,cab,c"),
        ("{{ m | length }}", "[4]"),
        ("{% set x %}<{{ m }}>{% endset %}{{ x }}", "[<]ab,c[>]"),
        ("{% macro f(a) %}({{ a }}){% endmacro %}{{ f(m) }}", "[(]ab,c[)]"),
        ("{% for c in m %}{{ c }}-{% endfor %}", "a[-]b[-],[-]c[-]"),
        ("{{ ('<' ~ m ~ '>')[0:3] }}", "[<]ab"),
        ("{{ m if m == 'ab,c' else 'no' }}", "ab,c"),
        ("{{ messages[0].role }}{{ bos_token }}", "[user<s>]"),
    ];
    for (template, expected) in cases {
        let template = format!("{{% set m = messages[0].content %}}{template}");
        assert_eq!(parts(&template, "ab,c"), expected, "{template}");
    }
}

#[test]
fn roles_that_templates_know_are_theirs_and_others_are_not() {
    let template = ChatTemplate::new("{% for m in messages %}<|{{ m.role }}|>{% endfor %}", "", "")
        .expect("it is a template");
    let message =
        |role: &str| Message::from_json(json!({"role": role, "content": ""})).expect("it is a message");
    let conversation = Conversation::new(vec![message("user"), message("im_end")]).with_adapt(false);
    let rendering = template.render_segments(&conversation).expect("it renders");
    let parts: Vec<_> = rendering.segments().map(|part| (part.text, part.parse_special)).collect();
    assert_eq!(parts, [("<|user|><|", true), ("im_end", false), ("|>", true)]);
}

#[test]
fn words_among_variables_are_the_templates_and_texts_are_not() {
    let template = ChatTemplate::new("{{ effort }}{{ note }}", "", "").expect("it is a template");
    let conversation = Conversation::new(Vec::new())
        .with_variable("effort", "high")
        .with_variable("note", "<|end|>")
        .with_adapt(false);
    let rendering = template.render_segments(&conversation).expect("it renders");
    let parts: Vec<_> = rendering.segments().map(|part| (part.text, part.parse_special)).collect();
    assert_eq!(parts, [("high", true), ("<|end|>", false)]);
}
